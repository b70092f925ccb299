"""The sweep: operations whose workflow was never started, or was ended by hand, get one.

An API process that dies between writing a change and starting its workflow leaves a resource in
transition. Starting is idempotent by the workflow's id, so that every worker may sweep.
"""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from contracts.provisioning import WORKFLOW_PROVISIONING, Operation, Provision
from contracts.turn import TASK_QUEUE
from store import Store

log = logging.getLogger(__name__)

#: Seconds between sweeps: how long a resource stays in transition after an API died at the wrong
#: moment. A sweep reads two partial indices, empty but for operations under way.
SWEEP_S = 10.0
#: Seconds for one start.
START_S = 5.0


async def sweep(store: Store, client: Client) -> None:
    """Start the workflow of every operation that is under way and has none."""
    for operation in await store.provisioning.under_way():
        await _start(client, operation)


async def keep_sweeping(store: Store, client: Client) -> None:
    """Sweep now and then every `SWEEP_S`, until cancelled."""
    while True:
        try:
            await sweep(store, client)
        except Exception:
            # Database or Temporal may be away for a while; the next sweep finds the same.
            log.exception("sweeping operations failed, and is tried again")
        await asyncio.sleep(SWEEP_S)


async def _start(client: Client, operation: Operation) -> None:
    await client.start_workflow(  # pyright: ignore[reportUnknownMemberType]
        WORKFLOW_PROVISIONING,
        Provision(operation),
        id=operation.workflow_id,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        rpc_timeout=timedelta(seconds=START_S),
    )
