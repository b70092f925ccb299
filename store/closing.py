"""The ends of an invocation. Whatever happened before, the transcript is valid afterwards.

Every tool call of an assistant message needs a result before the conversation can go on. A turn
that ends to wait for the caller leaves its waiting calls, and those that follow the answers; any
other end gives calls without outcome an error as their result.
"""

from sqlalchemy.engine import Connection

from contracts.errors import AwsError, ErrorDetail
from contracts.events import NO_STEP, Ended, Opened, Refused
from contracts.messages import StopReason
from contracts.records import InvocationState
from contracts.tools import CallState
from store import handover, invocations
from store.decision_rows import resume_due
from store.events import drop_deltas
from store.session import LockedSession
from store.settling import calls_of, cut_short, settle
from store.withdrawing import withdraw

WITHOUT_OUTCOME = (CallState.REQUESTED, CallState.STARTED, CallState.WAITING)


def close(
    connection: Connection,
    session_key: str,
    invocation_id: str,
    stop_reason: StopReason | None,
    error: ErrorDetail | None,
) -> None:
    """See `Turns.close`."""
    locked = LockedSession.lock(connection, session_key)
    state = InvocationState(invocations.find(connection, session_key, invocation_id).state)
    if state is InvocationState.NEW and stop_reason is StopReason.INTERRUPTED:
        skip(locked, invocation_id)
    elif state is InvocationState.NEW:
        refuse(locked, invocation_id, error or _never_began(stop_reason))
    elif state is InvocationState.OPEN:
        end(locked, invocation_id, stop_reason, error)
    else:
        return
    locked.save()


def end(
    locked: LockedSession,
    invocation_id: str,
    stop_reason: StopReason | None,
    error: ErrorDetail | None,
) -> None:
    """End an open invocation. The caller saves the session."""
    if locked.live_step is not None:
        drop_deltas(locked.connection, locked.key, invocation_id, locked.live_step)
    asks = stop_reason is StopReason.TOOL_USE and error is None
    if asks and _waits(locked):
        cut_short(locked, (CallState.STARTED,), stop_reason, error)
        settle(locked, invocation_id)
    elif asks and resume_due(locked.connection, locked.key):
        # People were quicker than this end. What they decided is for the turn that resumes.
        cut_short(locked, (CallState.STARTED,), stop_reason, error)
    else:
        if stop_reason is not StopReason.PARTIAL_TURN:
            withdraw(locked)
        cut_short(locked, WITHOUT_OUTCOME, stop_reason, error)
        settle(locked, invocation_id)
    payload = Ended(
        stop_reason=None if error else stop_reason,
        error=error.error if error else None,
        message=error.message if error else None,
    )
    locked.emit(invocation_id, NO_STEP, 0, payload)
    invocations.mark_over(locked, invocation_id, InvocationState.ENDED, payload.stop_reason, error)


def refuse(locked: LockedSession, invocation_id: str, error: ErrorDetail) -> None:
    """Refuse an invocation that has not begun. The caller saves the session."""
    payload = Refused(
        error=error.error, message=error.message, reason=error.reason, fields=error.fields
    )
    locked.emit(invocation_id, NO_STEP, 0, payload)
    invocations.mark_over(locked, invocation_id, InvocationState.REFUSED, None, error)


def skip(locked: LockedSession, invocation_id: str) -> None:
    """Open and end a cancelled invocation that has not begun. The caller saves the session.

    What it brought, words or answers, does not reach the conversation.
    """
    locked.emit(invocation_id, NO_STEP, 0, Opened())
    locked.emit(invocation_id, NO_STEP, 0, Ended(stop_reason=StopReason.INTERRUPTED))
    over = InvocationState.ENDED
    invocations.mark_over(locked, invocation_id, over, StopReason.INTERRUPTED, None)


def _waits(locked: LockedSession) -> bool:
    if locked.calls_seq == 0:
        return False
    handover.let_wait(locked)
    calls = calls_of(locked.connection, locked.key, locked.calls_seq)
    return any(found.state == CallState.WAITING for found in calls)


def _never_began(stop_reason: StopReason | None) -> ErrorDetail:
    why = f": {stop_reason.value}" if stop_reason else ""
    return ErrorDetail(AwsError.INTERNAL, f"The invocation ended before it began{why}.")
