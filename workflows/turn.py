"""One turn: model and tools in a loop, until the model ends, a person must act or a limit is met.

A turn that is cancelled stops where it is: its model call, its commands, whatever runs.

In order:
1. The limits are checked: model calls, output tokens. Time is watched from outside the loop.
2. One model call. Its message is in the store when it returns; here only references arrive.
3. No tool calls: the turn ends with the model's own stop reason.
4. Calls that stand before the first one that the caller must answer run, all at the same time.
   While all that runs are agents that wait for people, the time of the turn stands still.
5. A call that the caller must answer ends the turn with `tool_use`; calls after it run once every
   waiting call has its answer, at the start of the invocation that brings the last one.
6. Again from 1. An invocation that asks for a structured result is over when the model gives one
   that fits; a model that misses it is asked again, a few times.

It never sees the text of a message, an argument or a result; never waits for a person; never ends
without a closing row in the log, whatever happened.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    is_cancelled_exception,
)

from contracts.errors import ErrorType
from contracts.turn import (
    CloseTurn,
    ModelCall,
    ModelReply,
    OutputState,
    TurnProgress,
    TurnRequest,
)
from everloop.types import StopReason
from workflows import calls
from workflows.agents import Agents
from workflows.alarm import Alarm
from workflows.stopping import Stopping

#: Model calls that may miss the structured result before the turn is given up: models that can
#: mend a result at all mend it in the first or second round.
MAX_MISSED = 3

#: Events after which a turn goes on in another run, about 140 iterations: a worker that takes a run
#: up replays it within one workflow task, at some ten milliseconds an iteration.
MAX_EVENTS = 1000

#: Ends after which people decide whether the turn goes on: calls, or the budget, wait for them.
WAITS = (StopReason.TOOL_USE, StopReason.PARTIAL_TURN)


class TurnContinues(Exception):
    """The history is long: the turn goes on in the next run, from this point."""

    def __init__(self, progress: TurnProgress) -> None:
        """Carry how far the turn has come."""
        super().__init__(progress.invocation_id)
        self.progress = progress


Cancelled = Callable[[], bool]


async def begin_turn(request: TurnRequest, cancelled: Cancelled, alarm: Alarm | None) -> bool:
    """Open an invocation's turn and run it.

    Args:
        request: names the invocation.
        cancelled: whether its end was asked for.
        alarm: the run's timer; a timer of the turn's own without one.

    Returns:
        Whether calls wait for the caller now.

    Raises:
        TurnContinues: it goes on in the next run.
    """
    if cancelled():
        await calls.close_turn(CloseTurn(request.invocation_id, StopReason.INTERRUPTED))
    opened = await calls.open_turn(request)
    if not opened.runs:
        return opened.waiting
    progress = TurnProgress(
        invocation_id=request.invocation_id,
        seq=opened.seq,
        step=0,
        output_tokens=0,
        max_iterations=opened.max_iterations,
        max_tokens=opened.max_tokens,
        deadline_s=workflow.time() + opened.timeout_s,
    )
    turn = _Turn(progress, cancelled, alarm)
    return await turn.run(ModelReply(opened.seq, StopReason.TOOL_USE, 0, opened.calls))


async def continue_turn(progress: TurnProgress, cancelled: Cancelled, alarm: Alarm | None) -> bool:
    """Take up a turn that an earlier run left unfinished; takes and gives as `begin_turn`."""
    return await _Turn(progress, cancelled, alarm).run(None)


class _Turn:
    def __init__(self, progress: TurnProgress, cancelled: Cancelled, alarm: Alarm | None) -> None:
        self._cancelled = cancelled
        self._alarm = alarm
        self._invocation_id = progress.invocation_id
        self._limits = progress
        self._seq = progress.seq
        self._step = progress.step
        self._output_tokens = progress.output_tokens
        self._missed = progress.missed
        self._left = progress.left
        self._deadline_s = progress.deadline_s
        self._stopping = Stopping()
        self._agents = Agents(progress, self._stopping)

    async def run(self, due: ModelReply | None) -> bool:
        loop = asyncio.create_task(self._loop(due))
        asked = asyncio.create_task(workflow.wait_condition(self._cancelled))
        try:
            await self._wait([loop, asked], await self._time_left([loop, asked]))
            if loop.done():
                end = await self._ended(loop)
            elif asked.done():
                end = await self._stopped(loop, StopReason.INTERRUPTED)
            else:
                end = await self._stopped(loop, StopReason.TIMEOUT_EXCEEDED)
        except asyncio.CancelledError:
            self._stopping.asked = True
            loop.cancel()
            interrupted = CloseTurn(self._invocation_id, StopReason.INTERRUPTED)
            await asyncio.shield(asyncio.create_task(calls.close_turn(interrupted)))
            raise
        finally:
            asked.cancel()
        await calls.close_turn(end)
        return end.stop_reason in WAITS

    async def _wait(self, ends: list[asyncio.Task[Any]], left_s: float) -> None:
        """Wait until something has ended, or the time is over."""
        if self._alarm is not None:
            await self._alarm.wait(lambda: any(end.done() for end in ends), left_s)
        else:
            await workflow.wait(ends, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def _time_left(self, ends: list[asyncio.Task[Any]]) -> float:
        """Seconds that the turn may still take, known once it does not wait for people below."""
        if self._limits.left_s is not None:
            goes_on = asyncio.create_task(workflow.wait_condition(lambda: not self._agents.wait))
            await workflow.wait([*ends, goes_on], return_when=asyncio.FIRST_COMPLETED)
            goes_on.cancel()
            self._deadline_s = workflow.time() + self._limits.left_s
        return max(self._deadline_s - workflow.time(), 0)

    async def _ended(self, loop: asyncio.Task[StopReason]) -> CloseTurn:
        try:
            return CloseTurn(self._invocation_id, await loop)
        # A local activity's failure comes bare, without an ActivityError around it.
        except FailureError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from error
            return CloseTurn(self._invocation_id, error=_error_type(error))

    async def _stopped(self, loop: asyncio.Task[StopReason], reason: StopReason) -> CloseTurn:
        self._stopping.asked = True
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        return CloseTurn(self._invocation_id, reason)

    async def _loop(self, due: ModelReply | None) -> StopReason:
        if due and due.calls and not self._cancelled():
            await self._run_calls(due, len(due.calls))
            self._seq = due.seq + 1
        if self._left and (end := await self._after(self._left)) is not None:
            return end
        while True:
            if self._cancelled():
                return StopReason.INTERRUPTED
            if _is_long():
                raise TurnContinues(self._progress())
            if self._step >= self._limits.max_iterations:
                return StopReason.MAX_ITERATIONS_EXCEEDED
            budget = self._limits.max_tokens
            if budget is not None and self._output_tokens >= budget:
                return StopReason.MAX_OUTPUT_TOKENS_EXCEEDED

            self._stopping.check()
            reply = await calls.call_model(ModelCall(self._invocation_id, self._step, self._seq))
            self._step += 1
            self._output_tokens += reply.output_tokens
            if (end := await self._after(reply)) is not None:
                return end

    async def _after(self, reply: ModelReply) -> StopReason | None:
        """Do what a reply asks for; the turn's end, or None when the model goes on."""
        calls_tools = reply.stop_reason is StopReason.TOOL_USE
        if calls_tools and not await self._see_to(reply):
            return StopReason.TOOL_USE
        match reply.output:
            case OutputState.GIVEN:
                return StopReason.END_TURN
            case OutputState.MISSED:
                self._missed += 1
                return StopReason.MALFORMED_MODEL_OUTPUT if self._missed >= MAX_MISSED else None
            case OutputState.NONE:
                return None if calls_tools else reply.stop_reason

    async def _see_to(self, reply: ModelReply) -> bool:
        """Run what may run now; False when the caller must act first."""
        handed = next((i for i, call in enumerate(reply.calls) if call.queue is None), None)
        await self._run_calls(reply, len(reply.calls) if handed is None else handed)
        if handed is not None:
            await calls.hand_over(self._invocation_id)
            return False
        self._seq = reply.seq + 1
        return True

    async def _run_calls(self, reply: ModelReply, count: int) -> None:
        """Run the first calls of a reply.

        Raises:
            TurnContinues: those that are left are agents that wait for people.
        """
        if left := await self._agents.run(reply.calls[:count]):
            raise TurnContinues(self._progress(replace(reply, calls=left + reply.calls[count:])))

    def _progress(self, left: ModelReply | None = None) -> TurnProgress:
        waits = self._agents.waiting if left else ()
        return TurnProgress(
            invocation_id=self._invocation_id,
            seq=self._seq,
            step=self._step,
            output_tokens=self._output_tokens,
            max_iterations=self._limits.max_iterations,
            max_tokens=self._limits.max_tokens,
            deadline_s=self._deadline_s,
            missed=self._missed,
            left=left,
            waiting=waits,
            left_s=max(self._deadline_s - workflow.time(), 0) if self._agents.all_wait else None,
        )


def _is_long() -> bool:
    info = workflow.info()
    # Runs of earlier releases went on until Temporal suggested an end.
    if info.get_current_history_length() > MAX_EVENTS and workflow.patched("short-histories"):
        return True
    return info.is_continue_as_new_suggested()


def _error_type(error: FailureError) -> str:
    cause = error.cause if isinstance(error, ActivityError) else error
    if isinstance(cause, ApplicationError) and cause.type in set(ErrorType):
        return str(cause.type)
    return ErrorType.MACHINERY
