"""The session workflows, as the API reaches them: bring an invocation or a vote, cancel, ask.

Bringing is update-with-start on the workflow id that is the session's key, with the id of what is
brought as update id: a repeated update attaches to the first. A run may complete just as an update
arrives; then the same update is sent again and starts the next run, which finds in the store what
was done.
"""

import asyncio
from datetime import timedelta
from typing import TypeVar

from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError

from contracts.decisions import UPDATE_DECIDE, CastVote
from contracts.deletion import (
    WORKFLOW_DELETE_ACTOR,
    WORKFLOW_DELETE_SESSION,
    DeletionKind,
    DeletionOrder,
    DeletionRecord,
)
from contracts.errors import AwsError, ErrorType, ServiceError
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

#: Sends of one update, the first included. A run that closes under an update is replaced by the
#: next send; twice in a row needs two graces to end in the same moment.
MAX_SENDS = 5
#: Seconds before the second send; each later wait is twice as long.
FIRST_BACKOFF_S = 0.02
#: Seconds until somebody must have taken up the update: less than boto3's read time-out of 60 s, so
#: that a caller learns that no worker runs.
PATIENCE_S = 50.0
#: Seconds for one question to Temporal that is not an update.
QUESTION_S = 5.0

#: What the server says when the run that had the update has closed.
_CLOSED_UNDER = (
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.ABORTED,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.ALREADY_EXISTS,
)
_COMPLETED_UNDER = "AcceptedUpdateCompletedWorkflow"


_Answer = TypeVar("_Answer")


class _RunClosed(Exception):
    """The run that had the update closed before it answered."""


class Sessions:
    """The session workflows of one Temporal namespace."""

    def __init__(self, client: Client, *, grace_s: int, park_s: int = SessionState.park_s) -> None:
        """Use a client.

        Args:
            client: a connected or lazy client.
            grace_s: `SessionState.grace_s` of runs that are started.
            park_s: their `SessionState.park_s`.
        """
        self._client = client
        self._grace_s = grace_s
        self._park_s = park_s

    async def invoke(self, session: str, request: TurnRequest, *, waiting: bool) -> TurnAccepted:
        """Give an invocation its place in its session, starting a run when none is open.

        Args:
            session: the session's key.
            request: the invocation; its messages are in the store.
            waiting: whether calls of the session wait for the caller.

        Returns:
            The place.

        Raises:
            ServiceError: ThrottlingException when another invocation runs (nothing was done);
                InternalServerException when Temporal or its workers cannot be reached (safe to
                repeat with the same invocation id).
        """
        return await self._deliver(
            session, UPDATE_INVOKE, request, request.invocation_id, waiting, TurnAccepted
        )

    async def decide(self, session: str, vote: CastVote) -> None:
        """Have a vote counted that is written down; what came of it is in the store.

        Args:
            session: the session's key.
            vote: names it.

        Raises:
            ServiceError: InternalServerException when Temporal or its workers cannot be reached;
                safe to repeat with the same vote id.
        """
        name = f"{vote.decision_id}-{vote.vote_id}"
        await self._deliver(session, UPDATE_DECIDE, vote, name, True, type(None))

    async def _deliver(
        self,
        session: str,
        update: str,
        payload: object,
        update_id: str,
        waiting: bool,
        answer: type[_Answer],
    ) -> _Answer:
        async def send() -> _Answer:
            return await self._send(session, update, payload, update_id, waiting, answer)

        backoff_s = FIRST_BACKOFF_S
        patience = asyncio.timeout(PATIENCE_S)
        try:
            async with patience:
                for _ in range(MAX_SENDS - 1):
                    try:
                        return await send()
                    except _RunClosed:
                        await asyncio.sleep(backoff_s)
                        backoff_s *= 2
                return await send()
        except TimeoutError as error:
            raise _nobody_answered() from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            if not patience.expired():
                raise _unavailable() from error
            raise _nobody_answered() from error
        except _RunClosed as error:
            raise _unavailable() from error

    async def cancel(self, session: str, invocation_id: str) -> bool:
        """Ask the session's run to end an invocation.

        Returns:
            Whether a run is open that will; Temporal has kept the wish.

        Raises:
            ServiceError: InternalServerException when Temporal cannot be reached.
        """
        handle = self._client.get_workflow_handle(session)
        try:
            await handle.signal(
                SIGNAL_CANCEL,
                CancelTurn(invocation_id),
                rpc_timeout=timedelta(seconds=QUESTION_S),
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise _not_asked() from error
        except RuntimeError as error:
            raise _not_asked() from error
        return True

    async def delete(self, deletion: DeletionRecord) -> None:
        """Have a deletion carried out; one that is being carried out goes on.

        Raises:
            ServiceError: InternalServerException when Temporal cannot be reached; it is carried out
                later, and asking again is safe.
        """
        actor = deletion.kind is DeletionKind.ACTOR
        try:
            await self._client.start_workflow(
                WORKFLOW_DELETE_ACTOR if actor else WORKFLOW_DELETE_SESSION,
                DeletionOrder(deletion.id),
                id=deletion.id,
                task_queue=TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                rpc_timeout=timedelta(seconds=QUESTION_S),
            )
        except (RPCError, RuntimeError) as error:
            raise ServiceError(
                AwsError.INTERNAL,
                f"Temporal is unavailable; {deletion.id} is carried out once it is there.",
            ) from error

    async def runs(self, session: str) -> bool:
        """Whether the session's newest run is open; true also when Temporal cannot say."""
        handle = self._client.get_workflow_handle(session)
        try:
            found = await handle.describe(rpc_timeout=timedelta(seconds=QUESTION_S))
        except RPCError as error:
            return error.status is not RPCStatusCode.NOT_FOUND
        except RuntimeError:
            return True
        return found.status in (
            WorkflowExecutionStatus.RUNNING,
            WorkflowExecutionStatus.CONTINUED_AS_NEW,
        )

    async def _send(
        self,
        session: str,
        update: str,
        payload: object,
        update_id: str,
        waiting: bool,
        answer: type[_Answer],
    ) -> _Answer:
        start: WithStartWorkflowOperation[object, None] = WithStartWorkflowOperation(
            WORKFLOW,
            SessionState.first(grace_s=self._grace_s, park_s=self._park_s, waiting=waiting),
            id=session,
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            task_timeout=TASK_TIMEOUT,
        )
        try:
            handle = await self._client.start_update_with_start_workflow(  # pyright: ignore[reportUnknownMemberType]
                update,
                payload,
                start_workflow_operation=start,
                id=update_id,
                wait_for_stage=WorkflowUpdateStage.COMPLETED,
                result_type=answer,
            )
            return await handle.result()
        except WorkflowUpdateFailedError as error:
            raise _refusal(error) from error
        except RPCError as error:
            raise _rpc_failure(error) from error
        except RuntimeError as error:
            # What temporalio raises when a lazy client finds nobody at the address.
            raise _unavailable() from error


def _refusal(error: WorkflowUpdateFailedError) -> Exception:
    cause = error.cause
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind == _COMPLETED_UNDER:
        return _RunClosed()
    if kind == ErrorType.SESSION_BUSY and isinstance(cause, ApplicationError):
        return ServiceError(AwsError.THROTTLING, cause.message)
    return _unavailable()


def _rpc_failure(error: RPCError) -> Exception:
    if error.status in _CLOSED_UNDER:
        return _RunClosed()
    if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
        return ServiceError(AwsError.THROTTLING, "Temporal is at its limits; nothing was done.")
    return _unavailable()


def _unavailable() -> ServiceError:
    return ServiceError(
        AwsError.INTERNAL,
        "Temporal is unavailable, so nothing was begun. Repeating the call is safe.",
    )


def _not_asked() -> ServiceError:
    return ServiceError(
        AwsError.INTERNAL, "Temporal is unavailable, so nothing was cancelled. Repeat the call."
    )


def _nobody_answered() -> ServiceError:
    return ServiceError(
        AwsError.INTERNAL,
        f"No worker took up the session within {PATIENCE_S:.0f} seconds. Repeating the call with "
        "the same id is safe.",
    )
