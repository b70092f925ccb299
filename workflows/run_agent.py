"""A run of a harness for a tool call of another one.

As `workflows/run_harness.py`, with these differences:
1. It is given a reference to the call. The task is read from the store where the run is admitted;
   a run that is refused leaves its error as the call's result, and there is nothing to wait for.
2. At the end, good or bad, the agent's last words become the call's result, in the store.
3. Cancelled, it leaves no result: the turn that called it is over, and has settled the call.
4. It ends also when the agent begins to wait for people, or works again, and tells so; or when it
   is let go. The agent's run stays as it is, and the calling turn starts this workflow again.

It never carries a task or a result: neither stands in its history or in the calling session's.
"""

from dataclasses import replace
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.runs import (
        AGENT_WORKFLOW,
        SIGNAL_LET_GO,
        AdmittedRun,
        AgentCall,
        AgentStanding,
        FinishAgent,
        RunActivity,
        RunState,
    )
    from contracts.turn import TurnEnded
    from everloop.runs import HarnessRun
    from workflows.calls import STORE_RETRY, STORE_TIMEOUT
    from workflows.run_harness import RunHarness

#: Of the result that waiting for the end brings along: its text has no use here.
NO_TEXT_BYTES = 1


class RefusedAgent(Exception):
    """The run was refused; the call has its result."""


class AgentGoesOn(Exception):
    """The agent is not over, and its caller is to know how it stands."""

    def __init__(self, standing: AgentStanding) -> None:
        """Carry how it stands."""
        super().__init__(standing)
        self.standing = standing


@workflow.defn(name=AGENT_WORKFLOW)
class RunAgent(RunHarness):
    """A tool call that runs a harness."""

    @workflow.init
    def __init__(self, call: AgentCall) -> None:
        """Begin without news."""
        super().__init__(HarnessRun(harness="", prompt="", max_text_bytes=NO_TEXT_BYTES))
        self._call = call
        self._admitted: AdmittedRun | None = None
        self._let_go = False
        self._stopping = False
        # What happened since its caller last heard of it was told to nobody.
        self._news = call.waits is not None

    @workflow.run
    async def run(self, call: AgentCall) -> AgentStanding:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the agent to its end.

        Args:
            call: the tool call.

        Returns:
            Whether it is over, or how it stands otherwise.
        """
        try:
            await super().run(self._run)
        except RefusedAgent:
            return AgentStanding.OVER
        except AgentGoesOn as going:
            return going.standing
        except ApplicationError:
            # A failed run is a result, too: the model reads why.
            if self._admitted is None:
                raise
        assert self._admitted is not None
        await workflow.execute_local_activity(
            RunActivity.FINISH_AGENT,
            FinishAgent(call, self._admitted),
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )
        return AgentStanding.OVER

    @workflow.signal(name=SIGNAL_LET_GO)
    def let_go(self) -> None:
        """Tell how the agent stands, and leave it."""
        self._let_go = self._news = True

    def _is_news(self, end: TurnEnded) -> bool:
        asked = self._call.waits is not None and not self._stopping
        return asked or super()._is_news(end)

    async def _stop(self, admitted: AdmittedRun) -> None:
        self._stopping = True
        await super()._stop(admitted)

    async def _read(self, admitted: AdmittedRun) -> RunState:
        state = await super()._read(admitted)
        waits = state.waiting or state.below
        if not state.over and self._call.waits is not None:
            if self._let_go or waits is not self._call.waits:
                raise AgentGoesOn(AgentStanding.WAITS if waits else AgentStanding.WORKS)
        return state

    async def _admit(self) -> AdmittedRun:
        self._admitted = await workflow.execute_local_activity(
            RunActivity.ADMIT_AGENT,
            self._call,
            result_type=AdmittedRun | None,  # pyright: ignore[reportArgumentType]
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )
        if self._admitted is None:
            raise RefusedAgent
        return self._admitted

    def _park(self) -> None:
        """Nothing: the calling turn starts it anew when it waits."""

    def _renew(self) -> NoReturn:
        workflow.continue_as_new(replace(self._call, again=True))
