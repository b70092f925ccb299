"""Handing tool calls to the caller, whose answers come with a later invocation."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.events import EventKind
from contracts.tools import CallState, ToolKind
from store.decision_rows import open_decisions
from store.session import LockedSession
from store.settling import calls_of, hand_over, settle, step_of
from store.tables import call, event

_LET_WAIT = (
    sa.update(call)
    .where(
        call.c.session == sa.bindparam("session_"),
        call.c.id.in_(sa.bindparam("ids", expanding=True)),
    )
    .values(state=CallState.WAITING.value)
)
_TOLD = sa.select(event.c.cursor).where(
    event.c.session == sa.bindparam("session"),
    event.c.invocation_id == sa.bindparam("invocation_id"),
    event.c.step == sa.bindparam("step"),
    event.c.kind == EventKind.HANDOVER.value,
)


def let_wait(locked: LockedSession) -> None:
    """Requested calls that a person must act on wait, each with a decision of its own."""
    if not locked.calls_seq:
        return
    waiting = [
        found
        for found in calls_of(locked.connection, locked.key, locked.calls_seq)
        if found.state == CallState.REQUESTED
        and (found.kind == ToolKind.INLINE or found.gate is not None)
    ]
    if waiting:
        parameters = {"session_": locked.key, "ids": [found.id for found in waiting]}
        locked.connection.execute(_LET_WAIT, parameters)
        open_decisions(locked, waiting)


def hand_over_calls(connection: Connection, session_key: str, invocation_id: str) -> None:
    """See `Turns.hand_over`."""
    locked = LockedSession.lock(connection, session_key)
    if locked.running != invocation_id:
        return
    let_wait(locked)
    before = locked.last_cursor
    calls = settle(locked, invocation_id)
    # Without results on the stream the assistant message itself is the last thing that the caller
    # saw.
    results_shown = locked.last_cursor > before or any(found.shown for found in calls)
    if (
        results_shown
        and any(found.state == CallState.WAITING for found in calls)
        and not _told(locked, invocation_id, step_of(calls[0], invocation_id))
    ):
        hand_over(locked, invocation_id, calls)
    locked.save()


def _told(locked: LockedSession, invocation_id: str, step: int) -> bool:
    found = locked.connection.execute(
        _TOLD, {"session": locked.key, "invocation_id": invocation_id, "step": step}
    )
    return found.first() is not None
