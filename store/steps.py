"""Steps: one model call each, written by one attempt at a time.

The session row says which attempt may write. Beginning a step takes the next attempt, so that an
earlier writer is refused by the WHERE of its own UPDATE; settling or closing leaves no attempt.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import AwsError, ServiceError, StaleAttempt
from contracts.events import BlockDelta, Delta, Settled
from contracts.messages import Message, StopReason, TokenUsage, ToolStatus
from contracts.records import NewCall, StepRecord, StepStart
from contracts.tools import CallState
from store.calls import call_record
from store.digests import call_digest
from store.events import NewEvent, drop_deltas, insert_events
from store.session import COLUMNS, LockedSession
from store.settling import calls_of, settle
from store.summaries import mark_counted
from store.tables import call, message, session
from store.usage import count_call

_BEGIN = (
    sa.update(session)
    .where(
        session.c.key == sa.bindparam("key_"),
        session.c.running == sa.bindparam("invocation"),
        session.c.settled_step < sa.bindparam("step"),
    )
    .values(
        live_attempt=sa.case(
            (session.c.live_step == sa.bindparam("step"), session.c.live_attempt + 1), else_=1
        ),
        live_step=sa.bindparam("step"),
    )
    .returning(*COLUMNS)
)
_WRITER = (
    session.c.key == sa.bindparam("key_"),
    session.c.running == sa.bindparam("invocation"),
    session.c.live_step == sa.bindparam("step"),
    session.c.live_attempt == sa.bindparam("attempt"),
)
_APPEND = (
    sa.update(session)
    .where(*_WRITER)
    .values(last_cursor=session.c.last_cursor + 1)
    .returning(session.c.last_cursor)
)
_COMMIT = (
    sa.update(session)
    .where(*_WRITER)
    .values(
        last_cursor=session.c.last_cursor + 1,
        last_seq=session.c.last_seq + 1,
        calls_seq=sa.case(
            (sa.bindparam("asks", type_=sa.Boolean), session.c.last_seq + 1), else_=0
        ),
        settled_step=sa.bindparam("step"),
        live_step=None,
        live_attempt=0,
    )
    .returning(session.c.last_cursor, session.c.last_seq)
)
_SETTLED = sa.select(message).where(
    message.c.session == sa.bindparam("session"),
    message.c.invocation_id == sa.bindparam("invocation"),
    message.c.step == sa.bindparam("step"),
)
_SAY = sa.insert(message)
_ASK = sa.insert(call)


def begin_step(
    connection: Connection, session_key: str, invocation_id: str, step: int
) -> StepStart:
    """See `Turns.begin_step`."""
    row = connection.execute(
        _BEGIN, {"key_": session_key, "invocation": invocation_id, "step": step}
    ).first()
    if row is None:
        return _settled_before(connection, session_key, invocation_id, step)
    locked = LockedSession(connection, session_key, row)
    if locked.live_attempt > 1:
        drop_deltas(connection, session_key, invocation_id, step)
    if locked.calls_seq:
        if settle(locked, invocation_id):
            raise ServiceError(
                AwsError.INTERNAL, f"Step {step} of {invocation_id} must wait for its tool calls."
            )
        locked.save()
    return StepStart(attempt=locked.live_attempt, seq=locked.last_seq)


def _settled_before(
    connection: Connection, session_key: str, invocation_id: str, step: int
) -> StepStart:
    row = connection.execute(
        _SETTLED, {"session": session_key, "invocation": invocation_id, "step": step}
    ).first()
    if row is None:
        raise StaleAttempt(f"invocation {invocation_id} does not run step {step}")
    usage = TokenUsage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_input_tokens=row.cache_read_input_tokens,
        cache_write_input_tokens=row.cache_write_input_tokens,
    )
    record = StepRecord(
        seq=row.seq,
        stop_reason=row.body.stop_reason or StopReason.END_TURN,
        usage=usage,
        latency_ms=row.latency_ms,
        calls=tuple(call_record(found) for found in calls_of(connection, session_key, row.seq)),
    )
    return StepStart(attempt=row.attempt, seq=row.seq - 1, settled=record)


def append(
    connection: Connection,
    session_key: str,
    invocation_id: str,
    step: int,
    attempt: int,
    index: int,
    pieces: Sequence[BlockDelta],
) -> None:
    """See `Turns.append`."""
    cursor = connection.execute(
        _APPEND, _writer(session_key, invocation_id, step, attempt)
    ).scalar()
    if cursor is None:
        raise _stale(invocation_id, step, attempt)
    delta = Delta(pieces=tuple(pieces))
    row = NewEvent(session_key, cursor, invocation_id, step, attempt, index, delta)
    insert_events(connection, [row], repeatable=True)


def commit_step(
    connection: Connection,
    session_key: str,
    invocation_id: str,
    step: int,
    attempt: int,
    *,
    spoken: Message,
    calls: Sequence[NewCall],
    usage: TokenUsage,
    latency_ms: int,
    model_id: str,
    cost_pico_usd: int | None,
    summaries: tuple[int, ...],
) -> int:
    """See `Turns.commit_step`."""
    writer = _writer(session_key, invocation_id, step, attempt)
    place = connection.execute(_COMMIT, {**writer, "asks": bool(calls)}).first()
    if place is None:
        before = connection.execute(
            _SETTLED, {"session": session_key, "invocation": invocation_id, "step": step}
        ).first()
        if before is None or before.attempt != attempt:
            raise _stale(invocation_id, step, attempt)
        return before.seq
    seq: int = place.last_seq
    drop_deltas(connection, session_key, invocation_id, step)
    connection.execute(
        _SAY,
        {
            "session": session_key,
            "seq": seq,
            "invocation_id": invocation_id,
            "user_text": False,
            "body": spoken,
            "step": step,
            "attempt": attempt,
            **usage.model_dump(),
            "latency_ms": latency_ms,
            "model_id": model_id,
            "cost_pico_usd": cost_pico_usd,
            "created_at": datetime.now(UTC),
        },
    )
    count_call(connection, session_key, model_id, usage, cost_pico_usd)
    mark_counted(connection, session_key, summaries)
    if calls:
        rows = [
            _call_row(session_key, invocation_id, step, seq, position, new)
            for position, new in enumerate(calls)
        ]
        connection.execute(_ASK, rows)
    settled = Settled(seq=seq, usage=usage, latency_ms=latency_ms)
    insert_events(
        connection,
        [NewEvent(session_key, place.last_cursor, invocation_id, step, attempt, 0, settled)],
    )
    return seq


def _call_row(
    session_key: str, invocation_id: str, step: int, seq: int, position: int, new: NewCall
) -> dict[str, Any]:
    failed = new.failure is not None
    said = new.failure if failed else new.outcome
    return {
        "session": session_key,
        "id": new.block.id,
        "invocation_id": invocation_id,
        "step": step,
        "seq": seq,
        "position": position,
        "name": new.block.name,
        "kind": new.kind.value if new.kind else None,
        "queue": new.queue,
        "timeout_s": new.timeout_s,
        "input": new.block.input,
        "digest": call_digest(new.block.name, new.block.input),
        "state": (CallState.REQUESTED if said is None else CallState.DONE).value,
        "status": None
        if said is None
        else (ToolStatus.ERROR if failed else ToolStatus.SUCCESS).value,
        "content": None if said is None else (said,),
        "shown": False,
        "gate": new.gate,
    }


def _writer(session_key: str, invocation_id: str, step: int, attempt: int) -> dict[str, Any]:
    return {"key_": session_key, "invocation": invocation_id, "step": step, "attempt": attempt}


def _stale(invocation_id: str, step: int, attempt: int) -> StaleAttempt:
    return StaleAttempt(f"attempt {attempt} at step {step} of {invocation_id} may not write")
