"""The session: one workflow id for ever, one short run at a time.

In order:
1. An `invoke` update brings an invocation. Its validator refuses it while another one runs, unless
   the caller asked to queue. Accepting is all it does: the answer comes at once.
2. The run serves its queue, one turn at a time (`workflows/turn.py`).
3. With nothing to do it stays for a grace period, then completes; the next message starts a new run
   under the same id. While calls wait for somebody it stays for the park time instead, and beyond
   it for as long as a decision has a deadline.
4. A `cancel` signal ends the invocation that it names: the running turn is stopped, a queued one
   never begins.
5. Before it parks it continues-as-new, so that it waits with a history of a few events. A turn
   whose history grows long continues-as-new between two model calls.
6. A run that begins while calls wait asks the store how their decisions stand. A `decide` update
   has a vote counted; a timer has deadlines applied. When the last decision is taken, the store has
   admitted the invocation that resumes the turn, and the run serves it next.

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
    from contracts.decisions import UPDATE_DECIDE, CastVote, Standing
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
    from workflows.alarm import Alarm
    from workflows.shown import show
    from workflows.turn import TurnContinues, begin_turn, continue_turn

#: The least time between two looks at a deadline: the store's clock may be a little behind ours.
LEAST_WAIT_S = 1.0

#: Guards what runs of 0.1.0's first histories did not do when they began to wait.
DECISIONS = "decisions"

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
        self._due_s: float | None = None
        self._running = state.progress.invocation_id if state.progress else None
        self._cancelled: set[str] = set()
        self._alarm = Alarm() if state.one_timer else None
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
        elif state.waiting and workflow.patched(DECISIONS):
            self._stand(await calls.standing())
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

    @workflow.update(name=UPDATE_DECIDE)
    async def decide(self, vote: CastVote) -> None:
        """Have a vote counted; what came of it is in the store.

        Args:
            vote: names it.
        """
        self._stand(await calls.count_vote(vote))

    def _stand(self, standing: Standing) -> None:
        """Take note of how the decisions stand, and of a turn that they resume."""
        self._waiting = standing.waiting
        self._due_s = standing.due_s
        resume = standing.resume
        known = [self._running, *(waiting.invocation_id for waiting in self._queue)]
        if resume and resume.invocation_id not in known:
            self._queue.appendleft(resume)
        if self._running is None and not self._queue:
            show(standing.shown if standing.waiting else None)

    async def _serve(self, work: TurnRequest | TurnProgress) -> None:
        def cancelled() -> bool:
            return work.invocation_id in self._cancelled

        show(None)
        try:
            if isinstance(work, TurnProgress):
                self._waiting = await continue_turn(work, cancelled, self._alarm)
            else:
                self._waiting = await begin_turn(work, cancelled, self._alarm)
        except TurnContinues as longer:
            await self._renew(longer.progress)
        self._running = None
        await self._handled()
        if not self._waiting:
            self._due_s = None
        if self._waiting and not self._queue:
            await self._renew(None)

    async def _quiet(self) -> bool:
        """Wait for work; True when none came in time."""
        stay_s: float = self._state.park_s if self._waiting else self._state.grace_s
        if self._due_s is not None:
            stay_s = max(self._due_s - workflow.time(), LEAST_WAIT_S)
        if await self._work_comes(stay_s):
            return False
        if self._due_s is not None:
            self._stand(await calls.expire_decisions())
            return False
        return not self._queue and workflow.all_handlers_finished()

    async def _work_comes(self, within_s: float) -> bool:
        if self._alarm is not None:
            return await self._alarm.wait(lambda: bool(self._queue), within_s)
        try:
            await workflow.wait_condition(
                lambda: bool(self._queue), timeout=timedelta(seconds=within_s)
            )
        except TimeoutError:
            return False
        return True

    async def _handled(self) -> None:
        """Let votes and cancellations be carried out, because a run must not end under them."""
        while not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)

    async def _renew(self, progress: TurnProgress | None) -> NoReturn:
        await self._handled()
        workflow.continue_as_new(
            SessionState(
                grace_s=self._state.grace_s,
                park_s=self._state.park_s,
                waiting=self._waiting,
                queue=tuple(self._queue),
                progress=progress,
                cancelled=progress is not None and progress.invocation_id in self._cancelled,
                one_timer=True,
            ),
            # Between two model calls, and before a wait that may take days, is where newer code
            # may take over.
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )
