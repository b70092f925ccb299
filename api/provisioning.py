"""The provisioning workflows, as the API reaches them: start the one of an operation."""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import Client, RPCError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from contracts.provisioning import WORKFLOW_PROVISIONING, Operation, Provision
from contracts.turn import TASK_QUEUE

log = logging.getLogger(__name__)

#: Seconds until the caller gets its answer although Temporal has not taken the start: the change is
#: written, and a worker's sweep starts what was not started.
START_S = 5.0


class Provisioner:
    """Starts provisioning workflows in one Temporal namespace."""

    def __init__(self, client: Client) -> None:
        """Use a connected or lazy client."""
        self._client = client

    async def start(self, operation: Operation | None) -> None:
        """Start the workflow of an operation, once; none is to be started for None.

        It does not fail: what cannot be started now is started by the sweep.
        """
        if operation is None:
            return
        try:
            async with asyncio.timeout(START_S):
                await self._client.start_workflow(  # pyright: ignore[reportUnknownMemberType]
                    WORKFLOW_PROVISIONING,
                    Provision(operation),
                    id=operation.workflow_id,
                    task_queue=TASK_QUEUE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    rpc_timeout=timedelta(seconds=START_S),
                )
        except (RPCError, RuntimeError, TimeoutError) as error:
            # RuntimeError is what a lazy client raises that finds nobody at the address.
            log.warning("%s was not started and is left to the sweep: %s", operation, error)
