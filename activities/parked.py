"""What a worker does for parked sessions beside its activities.

It makes Temporal know the search attributes that they show, and pushes those whose workflow owes a
step: everything died between a vote and the first model call of the turn that it resumes, or a run
was ended by hand while a deadline was pending.
"""

import asyncio
import logging
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from contracts.decisions import UPDATE_DECIDE, WAITING_FOR, WAITING_TOOLS, CastVote
from contracts.settings import Settings
from contracts.turn import TASK_QUEUE, TASK_TIMEOUT, WORKFLOW, SessionState
from store import Store
from store.decisions import Owed

log = logging.getLogger(__name__)

#: Seconds that one call of Temporal's operator service may take.
CALL_S = 5.0
#: Seconds between two looks for sessions that owe a step; each is two searches of small indices.
LOOK_S = 5.0
#: A step that is so many seconds late is not under way.
LATE_S = 5.0
#: Seconds that pushing one session may take.
PUSH_S = 30.0


async def knows_attributes(client: Client) -> bool:
    """Whether Temporal knows our search attributes, which are added if it does not.

    Those that were added a moment ago count from the next start of a worker on: servers take their
    time to notice them, and refuse workflow tasks that use them before.
    """
    listing = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        found = await client.operator_service.list_search_attributes(
            listing, timeout=timedelta(seconds=CALL_S)
        )
        missing = [
            name for name in (WAITING_FOR, WAITING_TOOLS) if name not in found.custom_attributes
        ]
        if not missing:
            return True
        kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes=dict.fromkeys(missing, kind),
            ),
            timeout=timedelta(seconds=CALL_S),
        )
        log.info("search attributes were added; they are used from the next start on")
    except RPCError as error:
        log.warning("search attributes are not used: %s", error.status.name)
    return False


async def push_owed(client: Client, store: Store, settings: Settings) -> None:
    """Push sessions that owe a step, until cancelled.

    Of a turn that is open already, a workflow that was pushed once knows.
    """
    known: set[Owed] = set()
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            found = await store.decisions.owed(late_s=LATE_S)
            known &= set(found)
            for owed in found:
                if owed in known:
                    continue
                async with asyncio.timeout(PUSH_S):
                    await _push(client, settings, owed.session, owed.decision_id)
                if owed.opened:
                    known.add(owed)
        except Exception:
            # The next look finds whatever this one did not get done.
            log.warning("a look for sessions that owe a step failed", exc_info=True)


async def _push(client: Client, settings: Settings, session: str, decision_id: str) -> None:
    start: WithStartWorkflowOperation[object, None] = WithStartWorkflowOperation(
        WORKFLOW,
        SessionState.first(grace_s=settings.grace_s, park_s=settings.park_s, waiting=True),
        id=session,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        task_timeout=TASK_TIMEOUT,
    )
    # A vote that does not exist: the session looks at its decisions, and counts nothing.
    await client.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
        UPDATE_DECIDE,
        CastVote(decision_id, ""),
        start_workflow_operation=start,
        wait_for_stage=WorkflowUpdateStage.COMPLETED,
    )
