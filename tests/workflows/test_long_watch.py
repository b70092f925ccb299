"""`examples/long_watch.py` over days and weeks, on a server that skips time."""

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from contracts.runs import AdmitRun, AdmittedRun, ReadRun, RunActivity, RunFailure, RunState
from everloop.runs import TASK_QUEUE, HarnessOutcome
from everloop.types import StopReason
from examples.long_watch import LOOKS_IN_A_RUN, QUEUE, LongWatch, Report, Watch
from worker import PASSTHROUGH
from workflows.run_harness import RunHarness

DAY_S = 86400.0


@dataclass
class Agent:
    """Plays the store and the sessions beneath `RunHarness`: each look ends at once.

    Attributes:
        alarm_at: the look at which the agent reports.
        fails_at: the look that fails.
        sessions: where each look was.
        asked: the run of each look.
        times: when each look was, by the server's clock.
    """

    alarm_at: int = 0
    fails_at: int = 0
    sessions: list[str | None] = field(default_factory=list[str | None])
    asked: list[str] = field(default_factory=list[str])
    times: list[datetime] = field(default_factory=list[datetime])

    @property
    def took(self) -> timedelta:
        """From the first look to the last."""
        return self.times[-1] - self.times[0]

    @activity.defn(name=RunActivity.ADMIT)
    async def admit(self, ask: AdmitRun) -> AdmittedRun:
        self.sessions.append(ask.run.session_id)
        self.asked.append(activity.info().workflow_id or "")
        return AdmittedRun("session", ask.run.session_id or "", "invocation", "arn", "1")

    @activity.defn(name=RunActivity.DELIVER)
    async def deliver(self, run: AdmittedRun) -> bool:
        # A local activity, as admitting is, has the worker's clock.
        self.times.append(activity.info().scheduled_time)
        return False

    @activity.defn(name=RunActivity.READ)
    async def read(self, ask: ReadRun) -> RunState:
        look = len(self.sessions)
        if look == self.fails_at:
            return RunState(failure=RunFailure("ModelError", "the provider is down"))
        text = "ALARM: it moved" if look == self.alarm_at else "all quiet"
        content = [{"text": text}]
        return RunState(
            outcome=HarnessOutcome(
                *("id", "invocation", "arn", "1", StopReason.END_TURN), content=content
            )
        )


async def watched(
    env: WorkflowEnvironment, agent: Agent, watch: Watch, *, end_asleep: bool = False
) -> tuple[Report, WorkflowHandle[LongWatch, Report]]:
    """The report, and the workflow; time passes only while its result is waited for."""
    async with (
        Worker(env.client, task_queue=QUEUE, workflows=[LongWatch]),
        Worker(
            env.client,
            task_queue=TASK_QUEUE,
            workflows=[RunHarness],
            activities=[agent.admit, agent.deliver, agent.read],
            workflow_runner=SandboxedWorkflowRunner(restrictions=PASSTHROUGH),
        ),
    ):
        handle = await env.client.start_workflow(
            LongWatch.run, watch, id=f"watch-{uuid.uuid4()}", task_queue=QUEUE
        )
        if end_asleep:
            async with asyncio.timeout(30):
                while not await asleep(handle):
                    await asyncio.sleep(0.02)
            await handle.signal(LongWatch.end)
        return await handle.result(), handle


async def asleep(handle: WorkflowHandle[LongWatch, Report]) -> bool:
    history = await handle.fetch_history()
    return any(each.HasField("timer_started_event_attributes") for each in history.events)


async def last_run(client: Client, handle: WorkflowHandle[LongWatch, Report]) -> int:
    """Events of the newest run, which replays."""
    history = await client.get_workflow_handle(handle.id).fetch_history()
    await Replayer(workflows=[LongWatch]).replay_workflow(history)
    return len(history.events)


async def test_a_month_of_looks_is_one_session_and_small_histories(
    skipping: WorkflowEnvironment,
) -> None:
    agent = Agent(fails_at=3)
    looks = LOOKS_IN_A_RUN + 10
    report, handle = await watched(
        skipping, agent, Watch("guard", "Look.", every_s=DAY_S, looks=looks)
    )
    assert report == Report("all quiet", looks, 1, alarm=False)
    assert timedelta(days=looks - 1) <= agent.took < timedelta(days=looks)
    assert len(agent.sessions) == looks and len(set(agent.sessions)) == 1
    assert len(set(agent.asked)) == looks
    assert await last_run(skipping.client, handle) < 200


async def test_what_the_agent_reports_ends_the_watch(skipping: WorkflowEnvironment) -> None:
    agent = Agent(alarm_at=4)
    report, _ = await watched(skipping, agent, Watch("guard", "Look.", every_s=DAY_S, looks=1000))
    assert report == Report("ALARM: it moved", 4, 0, alarm=True)
    assert timedelta(days=3) <= agent.took < timedelta(days=4)


async def test_a_watch_that_is_ended_wakes_and_looks_a_last_time(
    skipping: WorkflowEnvironment,
) -> None:
    agent, watch = Agent(), Watch("guard", "Look.", every_s=30 * DAY_S, looks=1000)
    report, _ = await watched(skipping, agent, watch, end_asleep=True)
    assert report.looks == 2
    assert agent.took < timedelta(days=1)
