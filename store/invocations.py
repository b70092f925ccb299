"""Rows of `invocation`: admitted once per idempotency key, then only their state changes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ConfigGone, ErrorDetail, Reason, ServiceError, invalid
from contracts.messages import Message, StopReason, TokenUsage
from contracts.records import InvocationRecord, InvocationState
from contracts.tracing import TraceContext
from store.harness_rows import refuse_going
from store.inserts import insert_or_ignore
from store.session import LockedSession, begin_session
from store.settling import calls_of
from store.tables import invocation, message, run_config, session

_USAGE = tuple(TokenUsage.model_fields)

_KEY = (
    invocation.c.session == sa.bindparam("session_"),
    invocation.c.invocation_id == sa.bindparam("invocation_"),
)
_GET = sa.select(invocation).where(*_KEY)
_GET_WITH_CONFIG = (
    sa.select(invocation, run_config.c.body.label("config"))
    .join_from(invocation, run_config)
    .where(*_KEY)
)
_SPENT = sa.select(
    *(sa.func.coalesce(sa.func.sum(message.c[name]), 0).label(name) for name in _USAGE)
).where(
    message.c.session == sa.bindparam("session_"),
    message.c.invocation_id == sa.bindparam("invocation_"),
    message.c.step.is_not(None),
)
_OPENED = sa.update(invocation).where(*_KEY).values(state=InvocationState.OPEN.value, messages=None)
_OVER = (
    sa.update(invocation)
    .where(*_KEY)
    .values(
        state=sa.bindparam("new_state"),
        messages=None,
        stop_reason=sa.bindparam("reason"),
        error=sa.bindparam("detail", type_=invocation.c.error.type),
        ended_at=sa.bindparam("at", type_=invocation.c.ended_at.type),
    )
)
_RESUMES = sa.update(invocation).where(*_KEY).values(root=sa.bindparam("begun_by"))
_LINE = (
    sa.select(
        invocation.c.invocation_id,
        invocation.c.state,
        invocation.c.stop_reason,
        invocation.c.error,
        invocation.c.ended_at,
        invocation.c.reply_to,
        invocation.c.waits_below,
    )
    .where(
        # Each with the session: only then SQLite looks both up by an index.
        sa.or_(
            sa.and_(_KEY[0], invocation.c.invocation_id == sa.bindparam("root_")),
            sa.and_(_KEY[0], invocation.c.root == sa.bindparam("root_")),
        )
    )
    .order_by(invocation.c.ended_at, invocation.c.invocation_id)
)
_WAITS = (
    sa.update(invocation)
    .where(*_KEY, invocation.c.state == InvocationState.OPEN.value)
    .values(waits_below=sa.bindparam("waits"))
)
#: Of an open invocation: its turn has called no model. Its workflow may not know of it: it opens a
#: turn before Temporal has kept that it was asked to, and both may die in between.
UNTOUCHED = (
    sa.select(session.c.key)
    .where(
        session.c.key == invocation.c.session,
        session.c.running == invocation.c.invocation_id,
        session.c.settled_step < 0,
        session.c.live_step.is_(None),
        sa.not_(session.c.deleting),
    )
    .exists()
)
_UNTOUCHED = sa.select(invocation.c.invocation_id).where(
    *_KEY, invocation.c.state == InvocationState.OPEN.value, UNTOUCHED
)
_DELETING = sa.select(session.c.deleting).where(session.c.key == sa.bindparam("key_"))
#: Locked, so that a deletion which marks it comes before this or after.
_CALLER = (
    sa.select(session.c.deleting)
    .where(session.c.key == sa.bindparam("key_"))
    .with_for_update(read=True)
)
#: Locked, so that the deletion of the last session that used it waits.
_CONFIG = (
    sa.select(run_config.c.digest)
    .where(run_config.c.digest == sa.bindparam("digest_"))
    .with_for_update(read=True, key_share=True)
)
_NOTE = sa.update(invocation).where(*_KEY).values(failure_note=sa.bindparam("note"))


def admit(
    connection: Connection,
    *,
    session_key: str,
    account: str,
    harness_id: str,
    runtime_session_id: str,
    invocation_id: str,
    request_digest: str,
    config_digest: str,
    messages: Sequence[Message],
    reply_to: str | None,
    actor_id: str | None,
    trace: TraceContext | None,
    called_from: str | None,
) -> InvocationRecord:
    """See `Turns.admit`."""
    now = datetime.now(UTC)
    if called_from is not None:
        caller = connection.execute(_CALLER, {"key_": called_from}).first()
        if caller is None or caller.deleting:
            # What goes with the calling session must not begin behind the back of its deletion.
            raise ServiceError(AwsError.CONFLICT, "The calling session is deleted.")
    begin_session(
        connection,
        session_key,
        account=account,
        harness_id=harness_id,
        runtime_session_id=runtime_session_id,
        actor_id=actor_id,
        called_from=called_from,
    )
    locked = LockedSession.lock(connection, session_key)
    if connection.execute(_DELETING, {"key_": session_key}).scalar_one():
        # Nothing was done, so SDKs send it again, and it begins a new session once this is gone.
        raise ServiceError(AwsError.THROTTLING, "The session is being deleted.")
    if connection.execute(_CONFIG, {"digest_": config_digest}).first() is None:
        raise ConfigGone(config_digest)
    new = insert_or_ignore(
        connection,
        invocation,
        {
            "session": session_key,
            "invocation_id": invocation_id,
            "state": InvocationState.NEW.value,
            "request_digest": request_digest,
            "config_digest": config_digest,
            "messages": tuple(messages),
            "first_cursor": locked.last_cursor + 1,
            "created_at": now,
            "reply_to": reply_to,
            "actor_id": actor_id,
            "trace": trace,
        },
    )
    if new:
        refuse_going(connection, account, harness_id)
    row = find(connection, session_key, invocation_id)
    if row.request_digest != request_digest:
        raise invalid(
            "x-everloop-invocation-id",
            f"{invocation_id} was used before for another request; use a new id",
            reason=Reason.IDEMPOTENT_PARAMETER_MISMATCH,
        )
    return record(connection, row)


def get(connection: Connection, session_key: str, invocation_id: str) -> Row[Any] | None:
    """An invocation's row, if there is one."""
    return connection.execute(_GET, {"session_": session_key, "invocation_": invocation_id}).first()


def find(connection: Connection, session_key: str, invocation_id: str) -> Row[Any]:
    """An invocation's row.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = get(connection, session_key, invocation_id)
    if row is None:
        raise _missing(session_key, invocation_id)
    return row


def find_with_config(connection: Connection, session_key: str, invocation_id: str) -> Row[Any]:
    """An invocation's row, with what it runs with as `config`.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = connection.execute(
        _GET_WITH_CONFIG, {"session_": session_key, "invocation_": invocation_id}
    ).first()
    if row is None:
        raise _missing(session_key, invocation_id)
    return row


def may_be_lost(connection: Connection, session_key: str, invocation_id: str) -> bool:
    """See `Turns.may_be_lost`."""
    key = {"session_": session_key, "invocation_": invocation_id}
    return connection.execute(_UNTOUCHED, key).first() is not None


def mark_open(locked: LockedSession, invocation_id: str) -> None:
    """NEW becomes OPEN: its turn runs, and no other.

    One that opens while calls of a message are unsettled goes on with the turn that asked for them.
    """
    if locked.calls_seq:
        parked = calls_of(locked.connection, locked.key, locked.calls_seq)[0].invocation_id
        mark_resumed(locked, invocation_id, parked)
    locked.running = invocation_id
    locked.settled_step = -1
    locked.fence()
    locked.connection.execute(_OPENED, {"session_": locked.key, "invocation_": invocation_id})


def mark_over(
    locked: LockedSession,
    invocation_id: str,
    state: InvocationState,
    reason: StopReason | None,
    error: ErrorDetail | None,
) -> None:
    """It ended or was refused; nothing changes it any more."""
    if locked.running == invocation_id:
        locked.running = None
        locked.fence()
    locked.connection.execute(
        _OVER,
        {
            "session_": locked.key,
            "invocation_": invocation_id,
            "new_state": state.value,
            "reason": reason.value if reason else None,
            "detail": error,
            "at": datetime.now(UTC),
        },
    )


def mark_resumed(locked: LockedSession, invocation_id: str, parked: str) -> None:
    """An invocation goes on with the turn that another one left waiting."""
    before = find(locked.connection, locked.key, parked)
    locked.connection.execute(
        _RESUMES,
        {
            "session_": locked.key,
            "invocation_": invocation_id,
            "begun_by": before.root or before.invocation_id,
        },
    )


def line_of(connection: Connection, session_key: str, invocation_id: str) -> Sequence[Any]:
    """The invocations that share a turn with one: who began it and who resumed it.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    row = find(connection, session_key, invocation_id)
    root = row.root or row.invocation_id
    return connection.execute(_LINE, {"session_": session_key, "root_": root}).all()


def mark_waits_below(
    connection: Connection, session_key: str, invocation_id: str, waits: bool
) -> None:
    """See `Turns.waits_below`."""
    key = {"session_": session_key, "invocation_": invocation_id}
    connection.execute(_WAITS, {**key, "waits": waits})


def note_failure(connection: Connection, session_key: str, invocation_id: str, note: str) -> None:
    """See `Turns.note_failure`."""
    key = {"session_": session_key, "invocation_": invocation_id}
    connection.execute(_NOTE, {**key, "note": note})


def record(connection: Connection, row: Row[Any]) -> InvocationRecord:
    """The contract's record of a row of `invocation`."""
    usage = TokenUsage()
    if row.state == InvocationState.ENDED:
        spent = connection.execute(
            _SPENT, {"session_": row.session, "invocation_": row.invocation_id}
        ).one()
        usage = TokenUsage(**{name: int(getattr(spent, name)) for name in _USAGE})
    return InvocationRecord(
        session=row.session,
        invocation_id=row.invocation_id,
        state=InvocationState(row.state),
        config_digest=row.config_digest,
        stop_reason=StopReason(row.stop_reason) if row.stop_reason else None,
        error=row.error,
        first_cursor=row.first_cursor,
        usage=usage,
        created_at=row.created_at,
        ended_at=row.ended_at,
        trace=row.trace,
    )


def _missing(session_key: str, invocation_id: str) -> ServiceError:
    return ServiceError(
        AwsError.NOT_FOUND, f"Session {session_key} has no invocation {invocation_id}."
    )
