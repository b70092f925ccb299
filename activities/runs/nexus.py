"""The Nexus service: each operation starts a `RunHarness` workflow and ends with it."""

import nexusrpc.handler
from temporalio import nexus

from everloop.nexus import HarnessService
from everloop.runs import WORKFLOW, HarnessOutcome, HarnessRun


@nexusrpc.handler.service_handler(service=HarnessService)
class HarnessHandler:
    """Serves `everloop.nexus.HarnessService`."""

    @nexus.workflow_run_operation
    async def run_harness(
        self, ctx: nexus.WorkflowRunOperationContext, run: HarnessRun
    ) -> nexus.WorkflowHandle[HarnessOutcome]:
        """Start the run; Temporal sends its end, and its cancellation, to the caller and back."""
        return await ctx.start_workflow(
            WORKFLOW,
            run,
            # Nexus sends the same id with each of its own retries.
            id=f"nexus/{ctx.request_id}",
            result_type=HarnessOutcome,
            static_summary=f"harness {run.harness}",
        )
