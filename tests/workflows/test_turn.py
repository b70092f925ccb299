"""What a turn takes of Temporal, with its activities played: tool calls at once, and long turns."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from contracts.errors import ErrorType
from contracts.turn import (
    SIGNAL_CANCEL,
    Activity,
    CallRef,
    CancelTurn,
    CloseTurn,
    HandOver,
    ModelCall,
    ModelReply,
    SessionState,
    ToolCall,
    TurnOpened,
    TurnRequest,
)
from everloop.types import StopReason
from worker import PASSTHROUGH
from workflows.session import HarnessSession
from workflows.turn import MAX_EVENTS

RUNNER = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)


@dataclass
class Played:
    """A model that asks for a tool so many times, and a host that does so many calls at once."""

    calls: int
    at_once: int
    trouble: str = ""
    quickly: list[str] = field(default_factory=list[str])
    slowly: list[str] = field(default_factory=list[str])
    ended: list[StopReason | None] = field(default_factory=list[StopReason | None])
    errors: list[str | None] = field(default_factory=list[str | None])
    #: Of a model call whose answer comes from elsewhere.
    token: bytes | None = None

    @activity.defn(name=Activity.OPEN_TURN)
    async def open(self, request: TurnRequest) -> TurnOpened:
        return TurnOpened(runs=True, seq=1, max_iterations=1000)

    @activity.defn(name=Activity.CALL_MODEL)
    async def model(self, call: ModelCall) -> ModelReply:
        if self.trouble == "answers from elsewhere":
            self.token = activity.info().task_token
            activity.raise_complete_async()
        if call.step == self.calls:
            return ModelReply(call.seq + 1, StopReason.END_TURN, 1)
        queue = None if self.trouble == "cannot be handed over" else "queue"
        return asks_for(CallRef(f"call-{call.step}", queue, quick=queue is not None), call.seq + 1)

    @activity.defn(name=Activity.RUN_QUICKLY)
    async def run_quickly(self, call: ToolCall) -> bool:
        self.quickly.append(call.tool_use_id)
        if self.trouble == "fails":
            raise ApplicationError("the worker failed")
        if self.trouble == "hangs":
            await asyncio.sleep(60)
        return len(self.quickly) <= self.at_once

    @activity.defn(name=Activity.RUN_TOOL)
    async def run_tool(self, call: ToolCall) -> None:
        self.slowly.append(call.tool_use_id)

    @activity.defn(name=Activity.HAND_OVER)
    async def hand_over(self, _: HandOver) -> None:
        raise ApplicationError("nothing waits", non_retryable=True)

    @activity.defn(name=Activity.CLOSE_TURN)
    async def close(self, end: CloseTurn) -> tuple[str, ...]:
        self.ended.append(end.stop_reason)
        self.errors.append(end.error)
        return ()

    @property
    def asked(self) -> list[str]:
        return [f"call-{number}" for number in range(self.calls)]


def asks_for(call: CallRef, seq: int) -> ModelReply:
    return ModelReply(seq, StopReason.TOOL_USE, 1, (call,))


@asynccontextmanager
async def serving(client: Client, played: Played, *, remembered: int = 100) -> AsyncGenerator[None]:
    """Workers, which keep so many runs in memory."""
    everything = [played.open, played.model, played.run_quickly, played.hand_over, played.close]
    async with (
        Worker(
            client,
            task_queue="main",
            workflows=[HarnessSession],
            activities=everything,
            workflow_runner=RUNNER,
            max_cached_workflows=remembered,
        ),
        Worker(client, task_queue="queue", activities=[played.run_tool]),
    ):
        yield


async def turn(client: Client, played: Played, turns: int = 1) -> list[list[HistoryEvent]]:
    """The histories of the runs that turns took, newest first, each of which replays."""
    name = f"session-{uuid.uuid4()}"
    async with serving(client, played):
        queue = tuple(TurnRequest(f"i-{number}") for number in range(turns))
        state = SessionState(grace_s=1, queue=queue, one_timer=True)
        await client.execute_workflow(HarnessSession.run, state, id=name, task_queue="main")
    histories: list[list[HistoryEvent]] = []
    run_id: str | None = None
    while True:
        history = await client.get_workflow_handle(name, run_id=run_id).fetch_history()
        await Replayer(workflows=[HarnessSession], workflow_runner=RUNNER).replay_workflow(
            WorkflowHistory(name, history.events)
        )
        histories.append(list(history.events))
        began = history.events[0].workflow_execution_started_event_attributes
        run_id = began.continued_execution_run_id
        if not run_id:
            return histories


async def test_a_call_that_is_done_at_once_takes_one_workflow_task(client: Client) -> None:
    few, many = Played(calls=2, at_once=2), Played(calls=12, at_once=12)
    (shorter,), (longer,) = await turn(client, few), await turn(client, many)
    assert (many.quickly, many.slowly) == (many.asked, [])
    assert many.ended == [StopReason.END_TURN]
    more = Counter(e.event_type for e in longer)
    more.subtract(e.event_type for e in shorter)
    assert more[EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED] == 10
    assert sum(more.values()) == 70, "an iteration has seven events"


@pytest.mark.parametrize("trouble", ["", "fails", "hangs"])
async def test_a_call_that_is_not_done_at_once_is_left_to_its_host(
    client: Client, trouble: str
) -> None:
    played = Played(calls=1, at_once=0, trouble=trouble)
    await turn(client, played)
    assert (played.quickly, played.slowly) == (played.asked, played.asked)
    assert played.ended == [StopReason.END_TURN]


async def test_a_turn_that_is_cancelled_as_its_model_answers_begins_nothing(client: Client) -> None:
    played = Played(calls=1, at_once=0, trouble="answers from elsewhere")
    name = f"session-{uuid.uuid4()}"
    state = SessionState(grace_s=1, queue=(TurnRequest("i"),), one_timer=True)
    async with serving(client, played, remembered=0):
        session = await client.start_workflow(HarnessSession.run, state, id=name, task_queue="main")
        while played.token is None:
            await asyncio.sleep(0.01)
    # Nobody serves: the answer and the wish come to the session in one workflow task.
    await session.signal(SIGNAL_CANCEL, CancelTurn("i"))
    model = client.get_async_activity_handle(task_token=played.token)
    await model.complete(asks_for(CallRef("call-0", "queue", quick=True), 2))
    async with serving(client, played, remembered=0):
        await session.result()
    replayer = Replayer(workflows=[HarnessSession], workflow_runner=RUNNER)
    await replayer.replay_workflow(await session.fetch_history())
    assert played.slowly == []
    assert played.ended == [StopReason.INTERRUPTED]


async def test_a_turn_whose_own_step_fails_has_an_end(client: Client) -> None:
    played = Played(calls=1, at_once=0, trouble="cannot be handed over")
    await turn(client, played)
    assert (played.ended, played.errors) == ([None], [ErrorType.MACHINERY])


async def test_a_long_turn_goes_on_in_another_run_with_everything_done_once(
    client: Client,
) -> None:
    played = Played(calls=160, at_once=160)
    newest, oldest = await turn(client, played)
    assert MAX_EVENTS < len(oldest) < MAX_EVENTS + 20
    assert len(newest) < MAX_EVENTS
    assert played.quickly == played.asked
    assert played.ended == [StopReason.END_TURN]


async def test_turns_that_follow_each_other_take_no_timer_each(client: Client) -> None:
    played = Played(calls=0, at_once=0)
    (history,) = await turn(client, played, turns=10)
    assert played.ended == [StopReason.END_TURN] * 10
    taken = Counter(event.event_type for event in history)
    # One for the end of the first turn, one for the end of the session.
    assert taken[EventType.EVENT_TYPE_TIMER_STARTED] == 2
