"""A run of a harness for a tool call of another one.

As `workflows/run_harness.py`, with these differences:
1. It is given a reference to the call. The task is read from the store where the run is admitted;
   a run that is refused leaves its error as the call's result, and there is nothing to wait for.
2. At the end, good or bad, the agent's last words become the call's result, in the store.
3. Cancelled, it leaves no result: the turn that called it is over, and has settled the call.

It never carries a task or a result: neither stands in its history or in the calling session's.
"""

from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from contracts.runs import AGENT_WORKFLOW, AdmittedRun, AgentCall, FinishAgent, RunActivity
    from everloop.runs import HarnessRun
    from workflows.calls import STORE_RETRY, STORE_TIMEOUT
    from workflows.run_harness import RunHarness

#: Of the result that waiting for the end brings along: its text has no use here.
NO_TEXT_BYTES = 1


class RefusedAgent(Exception):
    """The run was refused; the call has its result."""


@workflow.defn(name=AGENT_WORKFLOW)
class RunAgent(RunHarness):
    """A tool call that runs a harness."""

    @workflow.init
    def __init__(self, call: AgentCall) -> None:
        """Begin without news."""
        super().__init__(HarnessRun(harness="", prompt="", max_text_bytes=NO_TEXT_BYTES))
        self._call = call
        self._admitted: AdmittedRun | None = None

    @workflow.run
    async def run(self, call: AgentCall) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the agent to its end.

        Args:
            call: the tool call.
        """
        try:
            await super().run(self._run)
        except RefusedAgent:
            return
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

    def _renew(self) -> NoReturn:
        workflow.continue_as_new(self._call)
