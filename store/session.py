"""A session whose row is locked: the one way to change its transcript and its log.

Locking comes first in every transaction that reads a session to change it. What is said and emitted
is collected and written by `save`, in as few statements as there are tables.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.events import Payload
from contracts.messages import Message, TextBlock
from store.events import NewEvent, insert_events
from store.inserts import insert_or_ignore
from store.tables import message, session

#: What of the row a `LockedSession` holds and `save` writes back.
STATE = (
    "last_cursor",
    "last_seq",
    "running",
    "settled_step",
    "live_step",
    "live_attempt",
    "calls_seq",
    "held_text",
)
COLUMNS = tuple(session.c[name] for name in STATE)

_LOCK = sa.select(*COLUMNS).where(session.c.key == sa.bindparam("key_")).with_for_update()
_SAVE = (
    sa.update(session)
    .where(session.c.key == sa.bindparam("key_"))
    .values({name: sa.bindparam(name) for name in (*STATE, "active_at")})
)
_SAY = sa.insert(message)


class LockedSession:
    """A session row, locked until the transaction ends."""

    def __init__(self, connection: Connection, key: str, row: Row[Any]) -> None:
        """Take over a row of `COLUMNS` that this transaction has locked."""
        self.connection = connection
        self.key = key
        self.last_cursor: int = row.last_cursor
        self.last_seq: int = row.last_seq
        self.running: str | None = row.running
        self.settled_step: int = row.settled_step
        self.live_step: int | None = row.live_step
        self.live_attempt: int = row.live_attempt
        self.calls_seq: int = row.calls_seq
        self.held_text: tuple[TextBlock, ...] | None = row.held_text
        self._messages: list[dict[str, Any]] = []
        self._events: list[NewEvent] = []

    @classmethod
    def lock(cls, connection: Connection, key: str) -> "LockedSession":
        """Lock a session.

        Raises:
            ServiceError: ResourceNotFoundException when there is no such session.
        """
        row = connection.execute(_LOCK, {"key_": key}).first()
        if row is None:
            raise ServiceError(AwsError.NOT_FOUND, f"Session {key} does not exist.")
        return cls(connection, key, row)

    def say(self, invocation_id: str, spoken: Message) -> int:
        """Append a message to the transcript that no step made.

        Returns:
            Its seq.
        """
        self.last_seq += 1
        self._messages.append(
            {
                "session": self.key,
                "seq": self.last_seq,
                "invocation_id": invocation_id,
                "user_text": has_user_text(spoken),
                "body": spoken,
                "created_at": datetime.now(UTC),
            }
        )
        return self.last_seq

    def emit(self, invocation_id: str, step: int, position: int, payload: Payload) -> None:
        """Append a row to the log that no attempt of a step writes."""
        self.last_cursor += 1
        self._events.append(
            NewEvent(self.key, self.last_cursor, invocation_id, step, 0, position, payload)
        )

    def fence(self) -> None:
        """Refuse whoever writes a step now."""
        self.live_step = None
        self.live_attempt = 0

    def save(self) -> None:
        """Write everything."""
        if self._messages:
            self.connection.execute(_SAY, self._messages)
        if self._events:
            insert_events(self.connection, self._events)
        state = {name: getattr(self, name) for name in STATE}
        self.connection.execute(_SAVE, {"key_": self.key, "active_at": datetime.now(UTC), **state})
        self._messages = []
        self._events = []


def has_user_text(spoken: Message) -> bool:
    """Whether a user wrote text in a message."""
    return spoken.role == "user" and any(isinstance(block, TextBlock) for block in spoken.blocks)


def begin_session(
    connection: Connection,
    key: str,
    *,
    account: str,
    harness_id: str,
    runtime_session_id: str,
    actor_id: str | None = None,
    called_from: str | None = None,
) -> None:
    """See that a session's row is there; the first actor stays, and so does the first caller."""
    now = datetime.now(UTC)
    row = {
        "key": key,
        "account": account,
        "harness_id": harness_id,
        "runtime_session_id": runtime_session_id,
        "created_at": now,
        "active_at": now,
        "actor_id": actor_id,
        "called_from": called_from,
        "last_cursor": 0,
        "last_seq": 0,
        "settled_step": -1,
        "live_attempt": 0,
        "calls_seq": 0,
        "deleting": False,
    }
    insert_or_ignore(connection, session, row)
