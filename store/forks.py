"""Forks: a new session that begins with a copy of an old one's messages, in one transaction.

Messages are copied, so that each session can be deleted whole without the other. What they cost
stays with the old session. Summaries come along; environments do not, their files may.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.environment import EnvironmentState
from contracts.errors import AwsError, Reason, ServiceError, invalid
from contracts.messages import TokenUsage
from contracts.sessions import ForkFiles, ForkOrder, SessionDefaults
from store.clock import EpochMillis
from store.engine import Database
from store.session import LockedSession
from store.tables import environment, message, session, summary

#: Messages that a fork takes along. Copying them holds the database's writer for about a second.
MAX_FORKED_MESSAGES = 100_000

_ROW = sa.select(session).where(session.c.key == sa.bindparam("key_"))
_BODY = sa.select(message.c.body).where(
    message.c.session == sa.bindparam("session_"), message.c.seq == sa.bindparam("seq_")
)
_DEFAULTS = sa.select(session.c.defaults).where(session.c.key == sa.bindparam("key_"))
_COPIED = ("seq", "invocation_id", "user_text", "body", "model_id", "created_at")
_COPY_MESSAGES = sa.insert(message).from_select(
    ["session", *_COPIED],
    sa.select(sa.bindparam("new_", type_=sa.String), *(message.c[name] for name in _COPIED)).where(
        message.c.session == sa.bindparam("old_"), message.c.seq <= sa.bindparam("upto_")
    ),
)
_KINDS = tuple(TokenUsage.model_fields)
_COPY_SUMMARIES = sa.insert(summary).from_select(
    ["session", "upto_seq", "text", *_KINDS, "counted", "created_at"],
    sa.select(
        sa.bindparam("new_", type_=sa.String),
        summary.c.upto_seq,
        summary.c.text,
        *(sa.literal(0) for _ in _KINDS),
        # What their making used is in the old session's usage.
        sa.true(),
        summary.c.created_at,
    ).where(summary.c.session == sa.bindparam("old_"), summary.c.upto_seq <= sa.bindparam("upto_")),
)


class Forks:
    """Forks of sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def fork(self, order: ForkOrder) -> str:
        """Begin a session with the messages of another; the same order again changes nothing.

        Returns:
            The new session's key.

        Raises:
            ServiceError: ResourceNotFoundException; ValidationException for a message that is not
                there or stands between a call and its result, with the nearest ones that do not;
                ConflictException when the new session exists already.
        """
        return await self._database.write(partial(_fork, order=order))

    async def check(self, order: ForkOrder) -> bool:
        """See that a fork could be made now, and whether it was made before.

        Raises:
            ServiceError: as `fork`.
        """
        return await self._database.write(partial(_check, order=order))

    async def defaults(self, key: str) -> SessionDefaults | None:
        """What a session's invocations run with unless they say otherwise."""
        return await self._database.read(
            lambda connection: connection.execute(_DEFAULTS, {"key_": key}).scalar()
        )


def _check(connection: Connection, order: ForkOrder) -> bool:
    origin = LockedSession.lock(connection, order.origin)
    existing = connection.execute(_ROW, {"key_": order.key}).first()
    if existing is not None:
        _made_before(existing, order)
        return True
    _cut(origin, order.from_seq)
    return False


def _fork(connection: Connection, order: ForkOrder) -> str:
    origin = LockedSession.lock(connection, order.origin)
    existing = connection.execute(_ROW, {"key_": order.key}).first()
    if existing is not None:
        return _made_before(existing, order)
    old = connection.execute(_ROW, {"key_": order.origin}).one()
    if old.deleting:
        raise ServiceError(AwsError.CONFLICT, "The session is being deleted.")
    seq = _cut(origin, order.from_seq)
    now = datetime.now(UTC)
    row = {
        "key": order.key,
        "account": order.account,
        "harness_id": order.harness_id,
        "runtime_session_id": order.runtime_session_id,
        "created_at": now,
        "active_at": now,
        "actor_id": old.actor_id,
        "last_cursor": 0,
        "last_seq": seq,
        "settled_step": -1,
        "live_attempt": 0,
        "calls_seq": 0,
        "deleting": False,
        "forked_from": order.origin,
        "forked_seq": seq,
        "fork_digest": order.digest,
        "defaults": order.defaults,
        "host": None if order.files is None else order.files.host,
    }
    connection.execute(sa.insert(session), row)
    if order.files is not None:
        _begin_with_files(connection, order.key, order.files)
    place = {"new_": order.key, "old_": order.origin, "upto_": seq}
    connection.execute(_COPY_MESSAGES, place)
    connection.execute(_COPY_SUMMARIES, place)
    return order.key


def _begin_with_files(connection: Connection, key: str, files: ForkFiles) -> None:
    """An environment that never ran, on the host that has the files."""
    record = {
        "session": key,
        "provider": "",
        "host": files.host,
        "generation": 1,
        "boot_id": "",
        "state": EnvironmentState.FORKED.value,
        "reference": {"staged": files.staged},
    }
    connection.execute(sa.insert(environment), record)
    used_now = sa.update(environment).where(environment.c.session == key)
    connection.execute(used_now.values(used_at_ms=EpochMillis()))


def _made_before(existing: Row[Any], order: ForkOrder) -> str:
    if existing.fork_digest == order.digest:
        return order.key
    if existing.fork_digest is not None and order.by_token:
        raise invalid(
            "clientToken",
            "was used before with other parameters; use a new token",
            reason=Reason.IDEMPOTENT_PARAMETER_MISMATCH,
        )
    raise ServiceError(
        AwsError.CONFLICT,
        f"Harness {order.harness_id} has a session {order.runtime_session_id} already.",
    )


def _cut(origin: LockedSession, wanted: int | None) -> int:
    """The last message to take along."""
    if origin.last_seq == 0:
        raise invalid("fromSeq", "the session has no messages yet")
    seq = origin.last_seq if wanted is None else wanted
    if not 1 <= seq <= origin.last_seq:
        raise invalid("fromSeq", f"must be from 1 to {origin.last_seq}, the newest message")
    if seq > MAX_FORKED_MESSAGES:
        raise invalid("fromSeq", f"at most {MAX_FORKED_MESSAGES} messages are taken along")
    last = origin.connection.execute(_BODY, {"session_": origin.key, "seq_": seq}).scalar_one()
    if not last.tool_uses:
        return seq
    if wanted is None and seq > 1:
        return seq - 1
    near = [str(seq - 1)] if seq > 1 else []
    near += [str(seq + 1)] if seq < origin.last_seq else []
    raise invalid(
        "fromSeq",
        f"message {seq} asks for tools and its results stand behind it; "
        + (f"take {' or '.join(near)}" if near else "answer its calls first"),
    )
