"""`RunHarness` over days, on a server that skips time: what it does when nobody signals."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from contracts.runs import AdmitRun, AdmittedRun, ReadRun, RunActivity, RunState
from everloop.errors import STOPPED, TIMED_OUT
from everloop.runs import HarnessOutcome, HarnessRun
from everloop.types import StopReason
from worker import PASSTHROUGH
from workflows.run_harness import RunHarness

ADMITTED = AdmittedRun("session", "id", "invocation", "arn", "1")
OUTCOME = HarnessOutcome("id", "invocation", "arn", "1", StopReason.END_TURN)
ANSWERED_AFTER = timedelta(days=40)


@dataclass
class Played:
    """Plays the store and the sessions; `states` are what reading finds, the last one for ever."""

    states: list[RunState]
    alive: bool = True
    reads: int = 0
    stops: int = 0
    keys: list[str] = field(default_factory=list[str])

    @activity.defn(name=RunActivity.ADMIT)
    async def admit(self, ask: AdmitRun) -> AdmittedRun:
        self.keys.append(ask.key)
        return ADMITTED

    @activity.defn(name=RunActivity.DELIVER)
    async def deliver(self, run: AdmittedRun) -> bool:
        return True

    @activity.defn(name=RunActivity.READ)
    async def read(self, ask: ReadRun) -> RunState:
        self.reads += 1
        return self.states[min(self.reads, len(self.states)) - 1]

    @activity.defn(name=RunActivity.ALIVE)
    async def is_alive(self, run: AdmittedRun) -> bool:
        return self.alive

    @activity.defn(name=RunActivity.STOP)
    async def stop(self, run: AdmittedRun) -> bool:
        self.stops += 1
        return self.stops == 2


async def run(client: Client, played: Played, run: HarnessRun) -> tuple[HarnessOutcome, int]:
    """The outcome, and how many events it took; the history replays."""
    runner = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
    async with Worker(
        client,
        task_queue="runs",
        workflows=[RunHarness],
        activities=[played.admit, played.deliver, played.read, played.is_alive, played.stop],
        workflow_runner=runner,
    ):
        handle = await client.start_workflow(
            RunHarness.run, run, id=f"run-{uuid.uuid4()}", task_queue="runs"
        )
        outcome = await handle.result()
    history = await handle.fetch_history()
    await Replayer(workflows=[RunHarness], workflow_runner=runner).replay_workflow(history)
    return outcome, len(history.events)


async def test_a_lost_signal_costs_time_and_no_result(client: Client) -> None:
    played = Played([RunState(), RunState(), RunState(outcome=OUTCOME)])
    outcome, _ = await run(client, played, HarnessRun("h", "Hello"))
    assert outcome == OUTCOME
    assert len(played.keys) == 1 and played.keys[0]


async def test_a_month_of_waiting_for_people_is_a_small_history(client: Client) -> None:
    checks = 8 + int(ANSWERED_AFTER / timedelta(hours=6))
    played = Played([RunState(waiting=True)] * checks + [RunState(outcome=OUTCOME)], alive=True)
    outcome, events = await run(client, played, HarnessRun("h", "Hello"))
    assert outcome == OUTCOME
    assert events < 3000
    first, again = played.keys
    assert first == again, "it waits in a run of its own, once, and for the same invocation"


async def test_a_run_whose_session_was_stopped_fails(client: Client) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await run(client, Played([RunState()], alive=False), HarnessRun("h", "Hello"))
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == STOPPED


async def test_a_run_out_of_time_is_stopped_first(client: Client) -> None:
    played = Played([RunState(waiting=True)])
    with pytest.raises(WorkflowFailureError) as failed:
        await run(
            client, played, HarnessRun("h", "Hello", timeout_s=timedelta(days=3).total_seconds())
        )
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == TIMED_OUT
    assert failed.value.cause.details[0]["session_id"] == "id"
    assert played.stops == 2
