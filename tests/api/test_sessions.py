"""Bringing invocations to session workflows, on a real Temporal server."""

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import api.sessions
from api.sessions import Sessions
from contracts.errors import AwsError, ErrorType, ServiceError
from contracts.turn import TASK_QUEUE, WORKFLOW, SessionState, TurnAccepted, TurnRequest
from tests.provisioned import connect

_numbers = count()


@workflow.defn(name=WORKFLOW)
class BriefSession:
    """Completes as soon as nothing has come for a few milliseconds, so that updates meet its end.

    An invocation named `stuck` is answered once it is released; `running` keeps others out.
    """

    def __init__(self) -> None:
        self._served: list[str] = []
        self._running: str | None = None
        self._quiet = True
        self._released = False

    @workflow.run
    async def run(self, state: SessionState) -> list[str]:
        while True:
            self._quiet = True
            try:
                await workflow.wait_condition(
                    lambda: not self._quiet,
                    timeout=timedelta(milliseconds=10 + state.grace_s * 1000),
                )
            except TimeoutError:
                return self._served

    @workflow.update
    async def invoke(self, request: TurnRequest) -> TurnAccepted:
        self._served.append(request.invocation_id)
        self._quiet = False
        if request.invocation_id == "stuck":
            await workflow.wait_condition(lambda: self._released)
        if request.invocation_id == "running":
            self._running = request.invocation_id
        return TurnAccepted(request.invocation_id)

    @workflow.signal
    def release(self) -> None:
        self._released = True

    @invoke.validator
    def _check(self, request: TurnRequest) -> None:
        if self._running is not None:
            raise ApplicationError(
                f"invocation {self._running} is running", type=ErrorType.SESSION_BUSY
            )


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    return await connect(temporal_address)


@pytest.fixture
async def worker(temporal: Client) -> AsyncIterator[Worker]:
    running = Worker(
        temporal,
        task_queue=TASK_QUEUE,
        workflows=[BriefSession],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with running:
        yield running


def new_session() -> str:
    return f"session:000000000000:agent-0123456789:{next(_numbers):033}"


def turn(invocation_id: str) -> TurnRequest:
    return TurnRequest(invocation_id)


async def served(temporal: Client, session: str) -> list[str]:
    """What all runs of a session served, oldest run first, once the newest has completed."""
    await temporal.get_workflow_handle(session).result()
    runs = [run async for run in temporal.list_workflows(f"WorkflowId = '{session}'")]
    runs.sort(key=lambda run: run.start_time)
    results = [
        await temporal.get_workflow_handle_for(
            BriefSession.run, session, run_id=run.run_id
        ).result()
        for run in runs
    ]
    return [each for result in results for each in result]


@pytest.mark.usefixtures("worker")
async def test_starts_a_run_and_uses_the_open_one(temporal: Client):
    sessions = Sessions(temporal, grace_s=60)
    session = new_session()
    for name in ("a", "b", "a"):
        accepted = await sessions.invoke(session, turn(name), waiting=False)
        assert accepted == TurnAccepted(name)
    handle = temporal.get_workflow_handle(session)
    assert await sessions.runs(session)
    await handle.terminate()
    assert not await sessions.runs(session)
    assert not await sessions.runs(new_session())


@pytest.mark.usefixtures("worker")
async def test_loses_nothing_when_runs_complete_under_the_updates(temporal: Client):
    sessions = Sessions(temporal, grace_s=0)
    session = new_session()
    names = [f"turn-{number}" for number in range(60)]
    for number, name in enumerate(names):
        await sessions.invoke(session, turn(name), waiting=False)
        await asyncio.sleep(number % 12 / 1000)
    told = await served(temporal, session)
    assert list(dict.fromkeys(told)) == names


@pytest.mark.usefixtures("worker")
async def test_sends_again_when_the_run_ends_before_it_answers(temporal: Client):
    sessions = Sessions(temporal, grace_s=60)
    session = new_session()
    bringing = asyncio.create_task(sessions.invoke(session, turn("stuck"), waiting=False))
    for _ in range(2):
        run_id = await accepted_in_a_run(temporal, session)
        await temporal.get_workflow_handle(session, run_id=run_id).terminate()
    await accepted_in_a_run(temporal, session)
    assert not bringing.done()
    handle = temporal.get_workflow_handle(session)
    await handle.signal(BriefSession.release)
    assert await bringing == TurnAccepted("stuck")
    await handle.terminate()


async def accepted_in_a_run(temporal: Client, session: str) -> str:
    """The open run of a session, once it has accepted an update."""
    async with asyncio.timeout(20):
        while True:
            async for run in temporal.list_workflows(f"WorkflowId = '{session}'"):
                handle = temporal.get_workflow_handle(session, run_id=run.run_id)
                described = await handle.describe()
                if described.status is not WorkflowExecutionStatus.RUNNING:
                    continue
                history = await handle.fetch_history()
                if any(
                    e.HasField("workflow_execution_update_accepted_event_attributes")
                    for e in history.events
                ):
                    return run.run_id
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("worker")
async def test_a_busy_session_throttles_with_the_workflows_words(temporal: Client):
    sessions = Sessions(temporal, grace_s=60)
    session = new_session()
    await sessions.invoke(session, turn("running"), waiting=False)
    with pytest.raises(ServiceError, match="invocation running is running") as refused:
        await sessions.invoke(session, turn("other"), waiting=False)
    assert refused.value.detail.error is AwsError.THROTTLING
    await temporal.get_workflow_handle(session).terminate()


async def test_says_when_no_worker_answers(temporal: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.sessions, "PATIENCE_S", 1.0)
    session = new_session()
    with pytest.raises(ServiceError, match="No worker took up the session") as refused:
        await Sessions(temporal, grace_s=0).invoke(session, turn("a"), waiting=False)
    assert refused.value.detail.error is AwsError.INTERNAL
    await temporal.get_workflow_handle(session).terminate()
    # The error holds the SDK's future of the call that was given up, which complains when it goes;
    # it must not do so in the midst of another test.
    del refused
    gc.collect()
