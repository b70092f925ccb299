"""Builds of the worker: which one new runs begin on, and what becomes of runs of older ones.

With a build id, runs are pinned: one that began on a build ends on it, so that no code changes
under a turn. A run that waits for a person may wait longer than any build is kept; so may one that
waits for a host, or for a receiver of notices. Promoting a build therefore moves every open run
onto it: of sessions, and of who waits for their turns. A run that is parked has a history of a few
events, and what a later build does differently there is guarded by patches.
"""

import asyncio
import logging
from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentVersion as ApiVersion
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from contracts import deletion as deletions
from contracts.notices import WORKFLOW_NOTICE
from contracts.provisioning import WORKFLOW_PROVISIONING
from contracts.runs import AGENT_WORKFLOW
from contracts.turn import WORKFLOW as SESSION
from everloop.mailbox import MAILBOX
from everloop.runs import WORKFLOW as RUN

log = logging.getLogger(__name__)

#: The Worker Deployment whose versions the builds are.
DEPLOYMENT = "everloop"
#: Seconds that one call of Temporal may take.
CALL_S = 10.0
#: Temporal knows a version once a worker of it has polled, which takes moments.
AGAIN_S = 0.2
#: A worker that cannot be known for so long is not there.
KNOWN_S = 60.0
#: All that a worker runs: nothing of it may stay behind on builds that are about to go.
WORKFLOWS = (
    SESSION,
    RUN,
    AGENT_WORKFLOW,
    MAILBOX,
    WORKFLOW_PROVISIONING,
    deletions.WORKFLOW_DELETE_SESSION,
    deletions.WORKFLOW_DELETE_ACTOR,
    deletions.WORKFLOW_RETENTION,
    WORKFLOW_NOTICE,
)
#: Every open run that is not on the build yet.
_OTHERS = (
    "WorkflowType IN ({workflows}) AND ExecutionStatus = 'Running' "
    "AND TemporalWorkerDeploymentVersion != '{version}'"
)


def deployment(build_id: str | None) -> WorkerDeploymentConfig | None:
    """How a worker of a build registers; None without one, when runs go to any worker."""
    if build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=_version(build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def promote(client: Client, build_id: str) -> int:
    """Let new runs begin on a build, and move the open runs onto it.

    Idempotent. A turn that runs on a worker of another build is moved at its next workflow task.

    Args:
        client: of the namespace.
        build_id: a worker of it must be running.

    Returns:
        How many open runs were moved.

    Raises:
        RPCError: Temporal refused, or knows no worker of the build after `KNOWN_S`.
    """
    await _make_current(client, build_id)
    name = _version(build_id).to_canonical_string()
    workflows = ", ".join(f"'{each}'" for each in WORKFLOWS)
    moved = 0
    async for found in client.list_workflows(_OTHERS.format(workflows=workflows, version=name)):
        try:
            await _move(client, found.id, found.run_id, build_id)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            # It ended meanwhile; a session's next run begins on the build.
            continue
        moved += 1
    log.info("build %s is current; %d open runs were moved onto it", build_id, moved)
    return moved


async def _make_current(client: Client, build_id: str) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=DEPLOYMENT, build_id=build_id
    )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KNOWN_S
    while True:
        try:
            await client.workflow_service.set_worker_deployment_current_version(
                request, timeout=timedelta(seconds=CALL_S)
            )
        except RPCError as error:
            unknown = error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
            if not unknown or loop.time() > deadline:
                raise
            await asyncio.sleep(AGAIN_S)
        else:
            return


async def _move(client: Client, workflow_id: str, run_id: str | None, build_id: str) -> None:
    version = ApiVersion(deployment_name=DEPLOYMENT, build_id=build_id)
    pinned = VersioningOverride.PinnedOverride(
        behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED, version=version
    )
    await client.workflow_service.update_workflow_execution_options(
        UpdateWorkflowExecutionOptionsRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id or ""),
            workflow_execution_options=WorkflowExecutionOptions(
                versioning_override=VersioningOverride(pinned=pinned)
            ),
            update_mask=FieldMask(paths=["versioning_override"]),
        ),
        timeout=timedelta(seconds=CALL_S),
    )


def _version(build_id: str) -> WorkerDeploymentVersion:
    return WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build_id)
