"""The session: one workflow id for ever, one short run at a time.

In order:
1. An `invoke` update brings an invocation. Its validator refuses it while another one runs, unless
   the caller asked to queue. Accepting is all it does: the answer comes at once.
2. The run serves its queue, one turn at a time (`workflows/turn.py`).
3. With nothing to do it stays for a grace period, then completes; the next message starts a new run
   under the same id. While calls wait for the caller it stays for the park time instead.
4. A `cancel` signal ends the invocation that it names: the running turn is stopped, a queued one
   never begins.
5. Before it parks it continues-as-new, so that it waits with a history of a few events. A turn
   whose history grows long continues-as-new between two model calls.

It never holds a message, an argument or a result: the store has them, and every activity finds them
by reference. It never reads a clock but Temporal's, does no I/O, and never completes while an
accepted invocation has not ended.
"""

from collections import deque
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.errors import ErrorType
    from contracts.turn import (
        SIGNAL_CANCEL,
        UPDATE_INVOKE,
        WORKFLOW,
        CancelTurn,
        CloseTurn,
        SessionState,
        TurnAccepted,
        TurnProgress,
        TurnRequest,
    )
    from everloop.types import StopReason
    from workflows import calls
    from workflows.turn import TurnContinues, begin_turn, continue_turn

#: Invocations that may wait in one session. Each is one update of at most 2,000 in a run.
MAX_QUEUED = 100


@workflow.defn(name=WORKFLOW)
class HarnessSession:
    """The durable agent run of one session."""

    @workflow.init
    def __init__(self, state: SessionState) -> None:
        """Take up what the last run left."""
        self._state = state
        self._queue: deque[TurnRequest] = deque(state.queue)
        self._waiting = state.waiting
        self._running = state.progress.invocation_id if state.progress else None
        self._cancelled: set[str] = set()
        if state.progress and state.cancelled:
            self._cancelled.add(state.progress.invocation_id)

    @workflow.run
    async def run(self, state: SessionState) -> None:
        """Serve invocations until none has come for the grace period.

        Args:
            state: what the run starts from.
        """
        if state.progress:
            await self._serve(state.progress)
        while True:
            if self._queue:
                request = self._queue.popleft()
                self._running = request.invocation_id
                await self._serve(request)
            elif await self._quiet():
                return

    @workflow.update(name=UPDATE_INVOKE)
    def invoke(self, request: TurnRequest) -> TurnAccepted:
        """Give an invocation its place.

        Args:
            request: names the invocation, whose messages are in the store.
        """
        known = [waiting.invocation_id for waiting in self._queue]
        ahead = len(known) + (self._running is not None)
        if request.invocation_id == self._running:
            return TurnAccepted(request.invocation_id)
        if request.invocation_id in known:
            return TurnAccepted(request.invocation_id, ahead=known.index(request.invocation_id))
        self._queue.append(request)
        return TurnAccepted(request.invocation_id, ahead=ahead)

    @invoke.validator
    def _may_invoke(self, request: TurnRequest) -> None:
        known = [waiting.invocation_id for waiting in self._queue]
        if self._running:
            known.insert(0, self._running)
        if not known or request.invocation_id in known:
            return
        if not request.enqueue:
            raise ApplicationError(
                f"invocation {known[0]} is running in this session",
                type=ErrorType.SESSION_BUSY,
                non_retryable=True,
            )
        if len(self._queue) >= MAX_QUEUED:
            raise ApplicationError(
                f"{MAX_QUEUED} invocations are queued in this session already",
                type=ErrorType.SESSION_BUSY,
                non_retryable=True,
            )

    @workflow.signal(name=SIGNAL_CANCEL)
    async def cancel(self, asked: CancelTurn) -> None:
        """End an invocation now; one that has ended stays as it ended.

        Args:
            asked: names the invocation.
        """
        self._cancelled.add(asked.invocation_id)
        if asked.invocation_id == self._running:
            return
        self._queue = deque(
            request for request in self._queue if request.invocation_id != asked.invocation_id
        )
        await calls.close_turn(CloseTurn(asked.invocation_id, StopReason.INTERRUPTED))

    async def _serve(self, work: TurnRequest | TurnProgress) -> None:
        def cancelled() -> bool:
            return work.invocation_id in self._cancelled

        try:
            if isinstance(work, TurnProgress):
                self._waiting = await continue_turn(work, cancelled)
            else:
                self._waiting = await begin_turn(work, cancelled)
        except TurnContinues as longer:
            await self._renew(longer.progress)
        self._running = None
        if self._waiting and not self._queue:
            await self._renew(None)

    async def _quiet(self) -> bool:
        """Wait for work; True when none came in time."""
        stay_s = self._state.park_s if self._waiting else self._state.grace_s
        try:
            await workflow.wait_condition(
                lambda: bool(self._queue), timeout=timedelta(seconds=stay_s)
            )
        except TimeoutError:
            return not self._queue and workflow.all_handlers_finished()
        return False

    async def _renew(self, progress: TurnProgress | None) -> NoReturn:
        # A cancellation that is being carried out would be lost with this run.
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(
            SessionState(
                grace_s=self._state.grace_s,
                park_s=self._state.park_s,
                waiting=self._waiting,
                queue=tuple(self._queue),
                progress=progress,
                cancelled=progress is not None and progress.invocation_id in self._cancelled,
            )
        )
