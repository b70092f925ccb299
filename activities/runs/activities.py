"""What `RunHarness` asks for: admit, deliver, read, stop. Each may run again at any point.

Reading and admitting are store transactions and run as local activities; what also talks to
Temporal are regular ones.
"""

from datetime import timedelta

from temporalio import activity
from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError

from activities.context import session_key as workflow_id
from activities.runs.admission import Asker, admit
from activities.runs.outcome import read_state
from contracts.errors import AwsError, ErrorType, ServiceError
from contracts.records import InvocationState
from contracts.runs import AdmitRun, AdmittedRun, ReadRun, RunActivity, RunState
from contracts.settings import Settings
from contracts.turn import (
    SIGNAL_CANCEL,
    TASK_QUEUE,
    TASK_TIMEOUT,
    UPDATE_INVOKE,
    WORKFLOW,
    CancelTurn,
    SessionState,
    TurnAccepted,
    TurnRequest,
)
from store import Store

#: Of one call to Temporal; the activity is retried.
_RPC_S = timedelta(seconds=10)
#: Errors of AWS's that another try may mend.
_PASSING = (AwsError.INTERNAL, AwsError.THROTTLING)


class RunActivities:
    """Serves `RunHarness`."""

    def __init__(self, store: Store, settings: Settings, client: Client) -> None:
        """Work on a store, and reach sessions through a client."""
        self._store = store
        self._settings = settings
        self._client = client

    @activity.defn(name=RunActivity.ADMIT)
    async def admit_run(self, ask: AdmitRun) -> AdmittedRun:
        """Keep the run's invocation in the store, before any session hears of it.

        Raises:
            ApplicationError: with AWS's name of the error as its type; the run is refused.
        """
        try:
            asker = Asker(workflow_id(), ask.key)
            return await admit(self._store, self._settings, ask.run, asker)
        except ServiceError as error:
            detail = error.detail
            raise ApplicationError(
                detail.message, type=detail.error.value, non_retryable=detail.error not in _PASSING
            ) from None

    @activity.defn(name=RunActivity.DELIVER)
    async def deliver_run(self, run: AdmittedRun) -> bool:
        """Bring an admitted run to its session's workflow, behind what runs there.

        Returns:
            Whether it has its end still before it; False when it ran before.

        Raises:
            ApplicationError: retryable: the session is full, or Temporal did not take it.
        """
        record = await self._store.turns.invocation(run.session, run.invocation_id)
        if record is None:
            # Its session was deleted; whoever reads the run learns so.
            return False
        is_open = record.state is InvocationState.OPEN
        lost = is_open and await self._store.turns.may_be_lost(run.session, run.invocation_id)
        if record.state is not InvocationState.NEW and not lost:
            return is_open
        waiting = bool(await self._store.calls.pending(run.session))
        start: WithStartWorkflowOperation[object, None] = WithStartWorkflowOperation(
            WORKFLOW,
            SessionState.first(
                grace_s=self._settings.grace_s, park_s=self._settings.park_s, waiting=waiting
            ),
            id=run.session,
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=TASK_TIMEOUT,
        )
        try:
            update = await self._client.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
                UPDATE_INVOKE,
                TurnRequest(run.invocation_id, enqueue=True),
                start_workflow_operation=start,
                id=run.invocation_id,
                wait_for_stage=WorkflowUpdateStage.COMPLETED,
                result_type=TurnAccepted,
                rpc_timeout=_RPC_S,
            )
            await update.result(rpc_timeout=_RPC_S)
        except (WorkflowUpdateFailedError, RPCError) as error:
            # A run that closes under an update, a full queue: the next try finds it otherwise.
            raise ApplicationError(
                f"the session did not take the run: {type(error).__name__}",
                type=ErrorType.MACHINERY,
            ) from None
        return True

    @activity.defn(name=RunActivity.READ)
    async def read_run(self, ask: ReadRun) -> RunState:
        """How a run stands, with its result once it is over."""
        return await read_state(self._store, ask)

    @activity.defn(name=RunActivity.ALIVE)
    async def run_is_alive(self, run: AdmittedRun) -> bool:
        """Whether somebody works on the run, or people have to."""
        try:
            record = await self._store.runs.get(run.session, run.invocation_id)
        except ServiceError as missing:
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
            return False
        return record.live is None or await self._session_runs(run.session)

    @activity.defn(name=RunActivity.STOP)
    async def stop_run(self, run: AdmittedRun) -> bool:
        """Have a run end: interrupt its turn, withdraw what waits for people.

        Returns:
            Whether it is over; else its session has been asked to end it.
        """
        try:
            if await self._store.runs.withdraw(run.session, run.invocation_id):
                return True
            record = await self._store.runs.get(run.session, run.invocation_id)
        except ServiceError as missing:
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
            return True
        if record.live is None:
            return False
        handle = self._client.get_workflow_handle(run.session)
        try:
            await handle.signal(SIGNAL_CANCEL, CancelTurn(record.live), rpc_timeout=_RPC_S)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        return False

    async def _session_runs(self, session: str) -> bool:
        try:
            found = await self._client.get_workflow_handle(session).describe(rpc_timeout=_RPC_S)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise
        return found.status is WorkflowExecutionStatus.RUNNING
