"""Calls of a turn that run at the same time; of agents, whether all that is left waits for people.

In order:
1. Tools run, and each agent is a child workflow under an id that follows from its call.
2. An agent that waits for people lets its child end, and says so with its result.
3. Once every call that is left is such an agent, the children that watch the others are let go, and
   the turn goes on in a next run of the workflow, which has their calls.
4. That run starts the children again, to be told when an agent works again or is over. Until then
   the turn waits, and so do the turns above it, which are told.

Its time stands still meanwhile (`workflows/turn.py`). No agent is stopped by it: who cancels the
turn stops them through the children, which are started once more for that if they must.
"""

import asyncio

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, FailureError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from contracts.runs import AGENT_WORKFLOW, SIGNAL_LET_GO, AgentCall, AgentStanding
from contracts.turn import TASK_TIMEOUT, CallRef, GiveUpCall, TurnProgress
from workflows import calls
from workflows.stopping import Stopping

Child = workflow.ChildWorkflowHandle[object, AgentStanding | None]


class Agents:
    """What runs below a turn."""

    def __init__(self, progress: TurnProgress, stopping: Stopping) -> None:
        """Begin with what an earlier run left waiting."""
        self._stopping = stopping
        self._invocation_id = progress.invocation_id
        self._open: set[str] = set()
        self._waiting = set(progress.waiting)
        #: Agents that run and have no child workflow now.
        self._unwatched = {call.id for call in (progress.left.calls if progress.left else ())}
        self._leaves = False
        #: Whether all that the turn does is to wait for people.
        self.wait = progress.left_s is not None

    async def run(self, asked: tuple[CallRef, ...]) -> tuple[CallRef, ...]:
        """Run calls; each leaves its outcome in the store, in whatever order.

        Args:
            asked: the calls; of agents that an earlier run left, all.

        Returns:
            Calls of agents that are left for the next run of the workflow.
        """
        self._open = {call.id for call in asked}
        try:
            if self.wait:
                await calls.turn_waits(self._invocation_id, True)
                self._stopping.check()
            await asyncio.gather(*(self._run(call) for call in asked))
            if self.wait:
                await self._go_on()
        except asyncio.CancelledError:
            left = [call for call in asked if call.agent and call.id in self._unwatched]
            await asyncio.gather(*(self._stop(call) for call in left))
            raise
        self._leaves = False
        return tuple(call for call in asked if call.id in self._open)

    @property
    def all_wait(self) -> bool:
        """Whether nothing is left but agents that wait for people."""
        return bool(self._open) and self._open <= self._waiting

    @property
    def waiting(self) -> tuple[str, ...]:
        """Calls whose agents wait for people."""
        return tuple(sorted(self._waiting & self._open))

    async def _run(self, call: CallRef) -> None:
        if not call.agent:
            await calls.run_tool(self._invocation_id, call, self._stopping)
        elif not await self._over(call):
            return
        self._waiting.discard(call.id)
        self._open.discard(call.id)
        self._see_whether_all_wait()

    async def _over(self, call: CallRef) -> bool:
        """Run an agent; whether it is over, or left for the next run of the workflow."""
        while True:
            standing = await self._child(call)
            if standing is None or standing is AgentStanding.OVER:
                return True
            self._unwatched.add(call.id)
            if standing is AgentStanding.WAITS:
                self._waiting.add(call.id)
            else:
                self._waiting.discard(call.id)
            self._see_whether_all_wait()
            if self._leaves:
                return False
            self._stopping.check()
            if self.wait and standing is AgentStanding.WORKS:
                await self._go_on()

    def _see_whether_all_wait(self) -> None:
        if self.all_wait and not self.wait:
            self._leaves = True

    async def _go_on(self) -> None:
        self.wait = False
        await calls.turn_waits(self._invocation_id, False)

    async def _child(self, call: CallRef) -> AgentStanding | None:
        """Run an agent's workflow until there is something to tell of it."""
        try:
            child = await self._start(call)
            letting_go = asyncio.create_task(self._let_go(child))
            try:
                return await child
            finally:
                letting_go.cancel()
        except ChildWorkflowError as error:
            if is_cancelled_exception(error):
                self._stopping.check()
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error
            # Somebody ended it, and not this turn.
            await calls.give_up(GiveUpCall(self._invocation_id, call.id, "agent_stopped"))
            return None

    async def _start(self, call: CallRef) -> Child:
        session = workflow.info().workflow_id
        child = await workflow.start_child_workflow(
            AGENT_WORKFLOW,
            AgentCall(
                session,
                self._invocation_id,
                call.id,
                waits=call.id in self._waiting,
                again=call.id in self._unwatched,
            ),
            id=f"{session}/agent/{call.id}",
            task_queue=call.queue,
            task_timeout=TASK_TIMEOUT,
            result_type=AgentStanding | None,  # pyright: ignore[reportArgumentType]
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
            # A child of a run that was ended from outside may still stand there; the same child
            # comes back to the same invocation.
            id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
        )
        self._unwatched.discard(call.id)
        return child

    async def _let_go(self, child: Child) -> None:
        await workflow.wait_condition(lambda: self._leaves)
        try:
            await child.signal(SIGNAL_LET_GO)
        except FailureError:
            # It has ended by itself, with something to tell.
            return

    async def _stop(self, call: CallRef) -> None:
        """Stop an agent that no child of this run would stop."""
        child = await self._start(call)
        child.cancel()
        try:
            await child
        except (ChildWorkflowError, asyncio.CancelledError):
            return
