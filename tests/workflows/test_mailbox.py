"""The mailbox on a real Temporal server, with real runs whose store and sessions are played."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecution
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import everloop
from contracts.runs import AdmitRun, AdmittedRun, ReadRun, RunActivity, RunFailure, RunState
from contracts.turn import TASK_QUEUE
from everloop.handles import SentRun, SentStanding, SentState
from everloop.mailbox import (
    KEPT,
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    QUERY_STANDING,
    SIGNAL_RUN,
    EndedRun,
    MailboxStanding,
    mailbox_id,
)
from everloop.runs import HarnessOutcome, HarnessRun
from everloop.types import StopReason
from tests.provisioned import add_namespace, connect, temporal_server
from worker import PASSTHROUGH
from workflows.mailbox import SORTED_AT_ONCE, HarnessMailbox
from workflows.run_harness import RunHarness

RUNNER = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
#: Temporal suggests to continue-as-new so early here.
EVENTS = 40


@dataclass
class Played:
    """The store and the sessions: a run ends at once, unless it is held; "fail" fails.

    As in the store, the workflow's id and the key name an invocation.
    """

    admitted: list[HarnessRun] = field(default_factory=list[HarnessRun])
    invocations: dict[str, str] = field(default_factory=dict[str, str])
    over: dict[str, str] = field(default_factory=dict[str, str])
    held: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: list[str] = field(default_factory=list[str])
    going: int = 0
    most: int = 0

    @activity.defn(name=RunActivity.ADMIT)
    async def admit(self, ask: AdmitRun) -> AdmittedRun:
        self.admitted.append(ask.run)
        name = f"{activity.info().workflow_id}={ask.key}"
        assert self.invocations.setdefault(name, ask.run.prompt) == ask.run.prompt
        return AdmittedRun("session", "id", name, "arn", "1")

    @activity.defn(name=RunActivity.DELIVER)
    async def deliver(self, run: AdmittedRun) -> bool:
        self.going += 1
        self.most = max(self.most, self.going)
        try:
            await self.held.wait()
        finally:
            self.going -= 1
        return False

    @activity.defn(name=RunActivity.READ)
    async def read(self, ask: ReadRun) -> RunState:
        name = ask.admitted.invocation_id
        said = self.over[name] = self.invocations[name]
        if said == "fail":
            return RunState(failure=RunFailure("HarnessStopped", "it was stopped"))
        return RunState(outcome=HarnessOutcome("id", said, "arn", "1", StopReason.END_TURN))

    @activity.defn(name=RunActivity.STOP)
    async def stop(self, run: AdmittedRun) -> bool:
        self.stopped.append(self.invocations[run.invocation_id])
        return True

    @property
    def ended(self) -> list[str]:
        """What was said by runs that ended, in their order."""
        return list(self.over.values())


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    suggest = f"limit.historyCount.suggestContinueAsNew={EVENTS}"
    log = tmp_path_factory.mktemp("temporal") / "log"
    with temporal_server(log, "--dynamic-config-value", suggest) as address:
        yield address


@dataclass
class Place:
    """A namespace of its own."""

    client: Client
    played: Played
    session: str = field(default_factory=lambda: everloop.session_id(uuid.uuid4().hex))

    async def send(self, prompt: str, **options: Any) -> SentRun:
        options.setdefault("key", prompt)
        options.setdefault("session_id", self.session)
        return await everloop.Client(self.client).send("h", prompt, **options)

    def worker(self) -> Worker:
        played = self.played
        return Worker(
            self.client,
            task_queue=TASK_QUEUE,
            workflows=[HarnessMailbox, RunHarness],
            activities=[played.admit, played.deliver, played.read, played.stop],
            workflow_runner=RUNNER,
        )

    @property
    def mailbox(self) -> str:
        return mailbox_id("h", self.session)

    async def closed(self) -> MailboxStanding:
        """The mailbox's result; its last run replays."""
        handle = self.client.get_workflow_handle(self.mailbox, result_type=MailboxStanding)
        result = await handle.result()
        history = await handle.fetch_history()
        await Replayer(workflows=[HarnessMailbox], workflow_runner=RUNNER).replay_workflow(history)
        return result

    async def cancel(self, running: SentRun) -> None:
        """Cancel the mailbox; what it runs is not held once that has come to it."""
        await self.client.get_workflow_handle(self.mailbox).cancel()
        child = self.client.get_workflow_handle(running.run.id)

        async def asked() -> bool:
            events = [each.event_type async for each in child.fetch_history_events()]
            return EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED in events

        await soon(asked)
        self.played.held.set()

    async def runs(self) -> list[WorkflowExecution]:
        """The mailbox's runs, as Temporal lists them."""
        query = "WorkflowType = 'HarnessMailbox'"
        return [each async for each in self.client.list_workflows(query)]


@pytest.fixture
async def idle(temporal: str) -> Place:
    """A namespace whose worker is not there yet."""
    namespace = f"n{uuid.uuid4().hex[:8]}"
    await connect(temporal)
    await add_namespace(temporal, namespace)
    return Place(await connect(temporal, namespace), Played())


@pytest.fixture
async def place(idle: Place) -> AsyncGenerator[Place]:
    async with idle.worker():
        yield idle


async def soon(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(30):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def stands(sent: SentRun, state: SentState) -> SentStanding:
    async def so() -> SentStanding | None:
        found = await sent.standing()
        return found if found.state is state else None

    return await soon(so)


async def test_one_after_the_other_and_each_once_whenever_the_signals_come(place: Place) -> None:
    played = place.played
    played.held.set()
    wanted = [f"say-{number}" for number in range(10)]
    for prompt in wanted:
        sent = await place.send(prompt)
        if prompt != wanted[0]:
            # Its end and the next signal reach the mailbox, which is about to complete, together.
            await sent.result()
    await soon(lambda: asyncio.sleep(0, len(played.ended) == len(wanted)))
    await place.closed()
    assert played.ended == wanted
    assert played.most == 1
    assert len(await soon(place.runs)) > 1, "the mailbox never closed, which was to be raced with"


async def test_a_flood_is_looked_at_a_part_at_a_time(idle: Place) -> None:
    idle.played.held.set()
    keys = ("a", "b", "c")
    sending = [idle.send(key) for key in keys * SORTED_AT_ONCE]
    await asyncio.gather(*sending)
    began = (await idle.client.get_workflow_handle(idle.mailbox).describe()).run_id
    async with idle.worker():
        standing = await idle.closed()
    history = await idle.client.get_workflow_handle(idle.mailbox, run_id=began).fetch_history()
    kinds = [each.event_type for each in history.events]
    assert kinds.count(EventType.EVENT_TYPE_TIMER_STARTED) >= len(keys) - 1
    assert sorted(idle.played.ended) == list(keys)
    assert (standing.ended_in_all, standing.refused_in_all) == (len(keys), 0)


async def test_a_failure_is_noted_and_the_next_one_runs(place: Place) -> None:
    place.played.held.set()
    failing, fine = await place.send("fail"), await place.send("fine")
    await stands(fine, SentState.DONE)
    assert (await failing.standing()).state is SentState.FAILED
    with pytest.raises(everloop.HarnessFailed, match="it was stopped"):
        await failing.result()
    assert (await fine.result()).invocation_id == "fine"
    standing = await place.closed()
    assert standing.ended == [EndedRun("fail", "HarnessStopped"), EndedRun("fine")]


async def test_what_cannot_be_queued_is_refused_where_its_sender_can_look(place: Place) -> None:
    first = await place.send("first")
    await stands(first, SentState.RUNNING)
    handle = place.client.get_workflow_handle(place.mailbox)
    other = HarnessRun("other", "x", session_id=place.session, key="other")
    # 3 bytes a character in UTF-8, and 6 as JSON that Temporal is given.
    long = HarnessRun("h", "\u3042" * (MAX_QUEUED_BYTES // 6), session_id=place.session, key="long")
    for bad in (other, {"prompt": "no harness"}, "nonsense", {"harness": "h", "prompt": 5}, long):
        await handle.signal(SIGNAL_RUN, bad)
    await handle.signal(
        SIGNAL_RUN, HarnessRun("h", "x", session_id=place.session, key="../../elsewhere")
    )
    changed = await place.send("another", key="first")
    again = await place.send("first")
    standing = await handle.query(QUERY_STANDING, result_type=MailboxStanding)
    while standing.arrived:
        standing = await handle.query(QUERY_STANDING, result_type=MailboxStanding)
    told = [(each.key, each.reason) for each in standing.refused]
    assert [key for key, _ in told] == ["other", None, None, None, "long", None, "first"]
    assert f"the mailbox {mailbox_id('other', place.session)}" in told[0][1]
    assert all("is no HarnessRun" in reason for _, reason in told[1:4])
    assert f"of {MAX_QUEUED_BYTES} are left" in told[4][1]
    assert "key must match" in told[5][1] and "another request" in told[6][1]
    assert (standing.running, standing.queued) == ("first", [])
    for same in (changed, again):
        assert (await same.standing()).state is SentState.RUNNING, "the key is the first one's"

    sending = [place.send(f"more-{number}") for number in range(MAX_QUEUED - 1)]
    more = await asyncio.gather(*sending)
    beyond = await place.send("beyond")
    await stands(more[-1], SentState.QUEUED)
    full = await stands(beyond, SentState.REFUSED)
    assert f"{MAX_QUEUED} requests" in (full.reason or "")
    many = [place.send(f"many-{number}") for number in range(KEPT + 1)]
    forgotten = (await asyncio.gather(*many))[0]
    last = await place.send("last")
    assert f"{MAX_QUEUED} requests" in ((await stands(last, SentState.REFUSED)).reason or "")
    assert (await forgotten.standing()).state is SentState.REFUSED, "with or without the reason"
    await place.cancel(first)
    await stands(more[-1], SentState.GIVEN_UP)
    assert (await last.standing()).state is SentState.REFUSED, "a closed mailbox still tells"
    assert {run.prompt for run in place.played.admitted} == {"first"}


async def test_a_long_history_continues_with_the_queue_and_the_run_that_goes(place: Place) -> None:
    played = place.played
    first = await place.send("first", timeout=3600)
    await stands(first, SentState.RUNNING)
    mailbox = place.client.get_workflow_handle(place.mailbox)
    began = (await mailbox.describe()).run_id
    later: list[str] = []
    async with asyncio.timeout(30):
        while (await mailbox.describe()).run_id == began:
            later.append(f"later-{len(later)}")
            await place.send(later[-1])
    result = asyncio.create_task(first.result())
    played.held.set()
    await place.send("last")
    assert (await result).invocation_id == "first"
    assert (await place.closed()).ended_in_all == len(later) + 2
    assert played.ended == ["first", *later, "last"]
    deadlines = {run.deadline_s for run in played.admitted if run.prompt == "first"}
    assert len(deadlines) == 1 and None not in deadlines


async def test_cancelling_a_mailbox_ends_its_run_and_gives_up_the_queue(place: Place) -> None:
    running, queued = await place.send("running"), await place.send("queued")
    await stands(running, SentState.RUNNING)
    await place.cancel(running)
    await stands(queued, SentState.GIVEN_UP)
    with pytest.raises(everloop.HarnessRefused, match="was cancelled or terminated"):
        await queued.result()
    assert place.played.stopped == ["running"]
    assert {run.prompt for run in place.played.admitted} == {"running"}


async def test_cancelling_one_run_lets_the_next_one_run(place: Place) -> None:
    running, queued = await place.send("running"), await place.send("queued")
    await stands(running, SentState.RUNNING)
    await running.run.cancel()
    place.played.held.set()
    await stands(queued, SentState.DONE)
    assert (await place.closed()).ended == [
        EndedRun("running", "CancelledError"),
        EndedRun("queued"),
    ]
