"""The side effects of deletions: end what runs, delete rows and executions, write the receipt.

Each may run again after it was done, and none tells history what it deletes but the session's key,
which its host must know.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, RPCError, RPCStatusCode, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError

from activities.context import heartbeats
from activities.mailboxes import end_mailbox, mailboxes_of
from contracts.deletion import (
    DeletionActivity,
    DeletionKind,
    DeletionOrder,
    OpenDeletions,
    RunsEnded,
)
from contracts.errors import AwsError, ErrorType, ServiceError
from contracts.ids import sandbox_queue
from contracts.runs import AGENT_WORKFLOW
from contracts.sessions import SessionRecord
from contracts.settings import Settings
from contracts.turn import SIGNAL_CANCEL, SIGNAL_TURN_ENDED, CancelTurn, TurnEnded
from everloop.mailbox import MAILBOX
from everloop.runs import WORKFLOW as RUN
from store import Store

_log = logging.getLogger(__name__)

#: Seconds that a running turn has to end as cancelled, so that its reader learns of it.
CANCEL_S = 10.0
#: Between two looks.
LOOK_S = 0.1
#: Seconds until Temporal's list of executions must be empty; its server takes ten to twenty.
GONE_S = 60.0

#: Workflows that waited for a turn and are told: more than can wait in a session at once.
TOLD = 200
#: Workflow ids in one question to Temporal.
ASKED = 50

#: Answers of a server that does not let us delete executions. Its own retention does, later.
_REFUSES = (
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNIMPLEMENTED,
    RPCStatusCode.INVALID_ARGUMENT,
)


class DeletionActivities:
    """Carries out deletions, for one worker."""

    def __init__(self, store: Store, client: Client, settings: Settings) -> None:
        """Work on a store and a Temporal namespace.

        Args:
            store: what is deleted from.
            client: reaches session workflows.
            settings: how long what is kept.
        """
        self._store = store
        self._client = client
        self._settings = settings

    @activity.defn(name=DeletionActivity.END_RUNS)
    async def end_runs(self, order: DeletionOrder) -> RunsEnded:
        """Cancel the session's running turn and end its run.

        Returns:
            Which host has its environment.
        """
        async with heartbeats():
            key = await self._store.deletions.subject(order.deletion_id)
            if key is None:
                return RunsEnded()
            session = await self._session(key)
            if session is not None and session.running is not None:
                await self._cancel(key, session.running)
            await self._terminate(key)
            await self._tell(key, order.deletion_id)
            host = await self._store.environments.host_of(key)
            return RunsEnded(key, None if host is None else sandbox_queue(host))

    @activity.defn(name=DeletionActivity.DELETE_ROWS)
    async def delete_rows(self, order: DeletionOrder) -> None:
        """Delete the session's rows, batch by batch, and their bytes."""
        async with heartbeats():
            while await self._store.deletions.delete_rows(order.deletion_id):
                pass
            if not await self._store.deletions.overwrite():
                raise ApplicationError("the database is being read", type=ErrorType.MACHINERY)

    @activity.defn(name=DeletionActivity.DELETE_EXECUTIONS)
    async def delete_executions(self, order: DeletionOrder) -> None:
        """Delete the session's executions as far as the server allows it."""
        async with heartbeats():
            key = await self._store.deletions.subject(order.deletion_id)
            if key is None:
                return
            beside = await self._store.deletions.executions(order.deletion_id)
            deleted: set[tuple[str, str]] = set()
            try:
                async with asyncio.timeout(GONE_S):
                    while runs := await self._runs(key, beside):
                        # One that is listed as open would be deleted much later: the server first
                        # waits for its list.
                        closed = {run for run, is_open in runs.items() if not is_open}
                        for run in closed - deleted:
                            await self._delete_run(*run)
                        deleted |= closed
                        await asyncio.sleep(LOOK_S)
            except TimeoutError:
                raise ApplicationError(
                    "executions are still listed", type=ErrorType.MACHINERY
                ) from None
            except RPCError as error:
                if error.status not in _REFUSES:
                    raise ApplicationError(
                        "Temporal did not answer", type=ErrorType.MACHINERY
                    ) from None
                _log.warning("Temporal refuses to delete executions: %s", error.status)
            await self._store.deletions.count(order.deletion_id, "temporal_runs", len(deleted))

    @activity.defn(name=DeletionActivity.COMPLETE_DELETION)
    async def complete_deletion(self, order: DeletionOrder) -> None:
        """Complete the receipt, and have the database forget what it named."""
        await self._store.deletions.complete(order.deletion_id)
        await self._store.deletions.overwrite()

    @activity.defn(name=DeletionActivity.CLAIM_SESSIONS)
    async def claim_sessions(self, order: DeletionOrder) -> OpenDeletions:
        """Open deletions for some of the actor's sessions."""
        return OpenDeletions(await self._store.deletions.claim_sessions(order.deletion_id))

    @activity.defn(name=DeletionActivity.CLAIM_AGENTS)
    async def claim_agents(self, order: DeletionOrder) -> OpenDeletions:
        """Open deletions for sessions of the session's agents, some at a time."""
        found = await self._store.deletions.claim_agents(order.deletion_id, order.after)
        return OpenDeletions(found, last=found[-1] if found else None)

    @activity.defn(name=DeletionActivity.EXPIRE)
    async def expire(self, after: str | None = None) -> OpenDeletions:
        """Open deletions for what is too old; a page of those and of whatever else is open.

        Args:
            after: the last one of the page before.
        """
        now = datetime.now(UTC)
        if (days := self._settings.retention_days) is not None:
            before = now - timedelta(days=days)
            await self._store.deletions.expire(self._settings.account, before=before)
        if (days := self._settings.receipt_days) is not None:
            await self._store.deletions.forget_receipts(before=now - timedelta(days=days))
        left = await self._store.deletions.left_open(after)
        return OpenDeletions(
            sessions=tuple(id_ for id_, kind in left if kind is DeletionKind.SESSION),
            actors=tuple(id_ for id_, kind in left if kind is DeletionKind.ACTOR),
            last=left[-1][0] if left else None,
        )

    async def _session(self, key: str) -> SessionRecord | None:
        try:
            return await self._store.sessions.get(key)
        except ServiceError as error:
            if error.detail.error is not AwsError.NOT_FOUND:
                raise
            return None

    async def _cancel(self, key: str, invocation_id: str) -> None:
        try:
            await self._client.get_workflow_handle(key).signal(
                SIGNAL_CANCEL, CancelTurn(invocation_id)
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return
        try:
            async with asyncio.timeout(CANCEL_S):
                while (found := await self._session(key)) is not None and found.running:
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            _log.warning("a turn did not end when it was cancelled; its run is terminated")

    async def _tell(self, key: str, deletion_id: str) -> None:
        """Tell the workflows that wait for a turn that nothing will come."""
        waiting = await self._store.deletions.keep_executions(deletion_id)
        for mailbox in mailboxes_of(waiting):
            await end_mailbox(self._client, mailbox)
        for workflow_id in waiting[:TOLD]:
            handle = self._client.get_workflow_handle(workflow_id)
            try:
                await handle.signal(SIGNAL_TURN_ENDED, TurnEnded(key, ""))
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise

    async def _terminate(self, key: str) -> None:
        try:
            await self._client.get_workflow_handle(key).terminate(reason="the session is deleted")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def _runs(self, key: str, beside: Sequence[str]) -> dict[tuple[str, str], bool]:
        """The runs that Temporal lists, as workflow and run id, and whether each is open.

        Beside the session's own those that ran its calls of agents, and those that waited for its
        turns: what was asked and answered stands in their histories.
        """
        wanted = [f"WorkflowId = '{key}'", f"WorkflowId STARTS_WITH '{key}/agent/'"]
        types = f"WorkflowType IN ('{RUN}', '{AGENT_WORKFLOW}', '{MAILBOX}')"
        asked = (*beside, *mailboxes_of(beside))
        for start in range(0, len(asked), ASKED):
            names = ", ".join(f"'{quoted(each)}'" for each in asked[start : start + ASKED])
            wanted.append(f"{types} AND WorkflowId IN ({names})")
        is_open = WorkflowExecutionStatus.RUNNING
        found: dict[tuple[str, str], bool] = {}
        for query in wanted:
            async for run in self._client.list_workflows(query):
                found[run.id, run.run_id] = run.status is is_open
        return found

    async def _delete_run(self, key: str, run_id: str) -> None:
        execution = WorkflowExecution(workflow_id=key, run_id=run_id)
        try:
            await self._client.workflow_service.delete_workflow_execution(
                DeleteWorkflowExecutionRequest(
                    namespace=self._client.namespace, workflow_execution=execution
                )
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


def quoted(workflow_id: str) -> str:
    """A workflow id, which its caller chose, as a literal of a visibility query."""
    return workflow_id.replace("\\", "\\\\").replace("'", "\\'")
