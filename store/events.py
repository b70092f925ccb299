"""Rows of the event log: how they are inserted, dropped and read.

On PostgreSQL the INSERT itself notifies those who follow, which saves a round trip; the
notification is sent when the transaction commits.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from contracts.events import Event, EventKind, Payload
from store.tables import event

#: The PostgreSQL channel on which commits are told; its payload names the session.
CHANNEL = "everloop_events"

_OF_STEP = (
    event.c.session == sa.bindparam("session"),
    event.c.invocation_id == sa.bindparam("invocation_id"),
    event.c.step == sa.bindparam("step"),
    event.c.kind == EventKind.DELTA.value,
)
_DROP_DELTAS = sa.delete(event).where(*_OF_STEP)
_READ = (
    sa.select(
        event.c.cursor,
        event.c.invocation_id,
        event.c.step,
        event.c.attempt,
        event.c.position,
        event.c.payload,
    )
    .where(event.c.session == sa.bindparam("session"), event.c.cursor > sa.bindparam("after"))
    .order_by(event.c.cursor)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_READ_INVOCATION = _READ.where(event.c.invocation_id == sa.bindparam("invocation_id"))


class NewEvent(NamedTuple):
    """A row to be written."""

    session: str
    cursor: int
    invocation_id: str
    step: int
    attempt: int
    position: int
    payload: Payload


def bell(session: str) -> str:
    """The notification's payload for a session: short, however long the key is."""
    return hashlib.sha256(session.encode()).hexdigest()[:32]


@cache
def _insert(dialect: str, repeatable: bool) -> sa.Insert:
    if dialect == "sqlite":
        return sqlite.insert(event).on_conflict_do_nothing() if repeatable else sa.insert(event)
    statement = postgresql.insert(event)
    if repeatable:
        statement = statement.on_conflict_do_nothing()
    # The payload is computed from the row, so that one statement serves every session.
    named = sa.func.substr(
        sa.func.encode(sa.func.sha256(sa.func.convert_to(event.c.session, "UTF8")), "hex"), 1, 32
    )
    return statement.returning(sa.func.pg_notify(CHANNEL, named, type_=sa.Text))


def insert_events(
    connection: Connection, events: Sequence[NewEvent], *, repeatable: bool = False
) -> None:
    """Append rows whose cursors the locked session row gave.

    Args:
        connection: inside the transaction that took the cursors.
        events: the rows.
        repeatable: whether a row that is already there is left as it is, instead of failing.
    """
    rows = [{**new._asdict(), "kind": new.payload.kind.value} for new in events]
    connection.execute(
        _insert(connection.dialect.name, repeatable), rows[0] if len(rows) == 1 else rows
    )


def drop_deltas(connection: Connection, session: str, invocation_id: str, step: int) -> None:
    """Drop what attempts of a step wrote."""
    connection.execute(
        _DROP_DELTAS, {"session": session, "invocation_id": invocation_id, "step": step}
    )


def read_events(
    connection: Connection, session: str, after: int, invocation_id: str | None, limit: int
) -> tuple[Event, ...]:
    """The next rows of a session's log, in order."""
    parameters: dict[str, Any] = {"session": session, "after": after, "limit": limit}
    statement = _READ
    if invocation_id is not None:
        statement = _READ_INVOCATION
        parameters["invocation_id"] = invocation_id
    return tuple(
        Event.model_construct(
            cursor=row.cursor,
            invocation_id=row.invocation_id,
            step=row.step,
            attempt=row.attempt,
            index=row.position,
            payload=row.payload,
        )
        for row in connection.execute(statement, parameters)
    )
