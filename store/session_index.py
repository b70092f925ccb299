"""Sessions from outside of a turn: list them, look at one, read it page by page."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.records import InvocationRecord, InvocationState
from contracts.sessions import (
    CallEntry,
    SessionFilter,
    SessionRecord,
    SessionStatus,
    TranscriptEntry,
)
from contracts.tools import CallState
from store import invocations
from store.decision_tables import OPEN, decision
from store.engine import Database
from store.paging import bad_token, decode_token, encode_token
from store.tables import call, invocation, message, session

_WAITS = (
    sa.select(call.c.id)
    .where(
        call.c.session == session.c.key,
        call.c.seq == session.c.calls_seq,
        call.c.state == CallState.WAITING.value,
    )
    .exists()
)
_ASKS = sa.select(decision.c.id).where(decision.c.session == session.c.key, OPEN).exists()
_BELOW = (
    sa.select(invocation.c.invocation_id)
    .where(
        invocation.c.session == session.c.key,
        invocation.c.invocation_id == session.c.running,
        invocation.c.waits_below,
    )
    .exists()
)
_STATUS = sa.case(
    (sa.and_(session.c.running.is_not(None), ~_BELOW), SessionStatus.RUNNING.value),
    (sa.or_(session.c.running.is_not(None), _WAITS, _ASKS), SessionStatus.WAITING.value),
    else_=SessionStatus.IDLE.value,
)
_SHOWN = sa.select(session, _STATUS.label("status"))
_ONE = _SHOWN.where(session.c.key == sa.bindparam("key_"))
_INVOCATIONS = (
    sa.select(invocation)
    .where(invocation.c.session == sa.bindparam("session_"))
    .order_by(invocation.c.created_at, invocation.c.invocation_id)
    .limit(sa.bindparam("limit_", type_=sa.Integer))
)
_COUNT = sa.select(sa.func.count()).where(
    invocation.c.session == sa.bindparam("session_"), invocation.c.state == sa.bindparam("state_")
)
_MESSAGES = (
    sa.select(
        message.c.seq,
        message.c.invocation_id,
        message.c.body,
        message.c.model_id,
        message.c.created_at,
    )
    .where(message.c.session == sa.bindparam("session_"), message.c.seq > sa.bindparam("after"))
    .order_by(message.c.seq)
    .limit(sa.bindparam("limit_", type_=sa.Integer))
)
_SNAPSHOTS = sa.select(call.c.seq, call.c.id, call.c.snapshot_id).where(
    call.c.session == sa.bindparam("session_"),
    call.c.seq.between(sa.bindparam("from_"), sa.bindparam("upto_")),
    call.c.snapshot_id.is_not(None),
)
_CALLS = (
    sa.select(call)
    .where(
        call.c.session == sa.bindparam("session_"),
        sa.tuple_(call.c.seq, call.c.position)
        > sa.tuple_(
            sa.bindparam("seq_", type_=sa.Integer), sa.bindparam("position_", type_=sa.Integer)
        ),
    )
    .order_by(call.c.seq, call.c.position)
    .limit(sa.bindparam("limit_", type_=sa.Integer))
)


class SessionIndex:
    """The sessions of all accounts, to be looked at."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def get(self, key: str) -> SessionRecord:
        """A session as it stands.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        row = await self._database.read(
            lambda connection: connection.execute(_ONE, {"key_": key}).first()
        )
        if row is None:
            raise ServiceError(AwsError.NOT_FOUND, f"Session {key} does not exist.")
        return _session(row)

    async def list(
        self, account: str, wanted: SessionFilter, *, limit: int, after: str | None
    ) -> tuple[tuple[SessionRecord, ...], str | None]:
        """A page of an account's sessions, newest first.

        Args:
            account: whose.
            wanted: which.
            limit: how many at most.
            after: the token of the page before; sessions that begin meanwhile do not shift pages.

        Returns:
            The sessions, and the token of the next page if there is one.

        Raises:
            ServiceError: ValidationException for a token that is none.
        """
        statement = (
            _SHOWN.where(session.c.account == account, *_conditions(wanted, after))
            .order_by(session.c.created_at.desc(), session.c.key.desc())
            .limit(limit + 1)
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        page = tuple(_session(row) for row in rows[:limit])
        more = len(rows) > limit
        return page, encode_token(page[-1].created_at, page[-1].key) if more else None

    async def invocations(
        self, key: str, *, limit: int, after: str | None
    ) -> tuple[tuple[InvocationRecord, ...], str | None]:
        """A page of a session's invocations, oldest first; paged as `list`."""
        statement = _INVOCATIONS
        if after is not None:
            statement = statement.where(
                _place(invocation.c.created_at, invocation.c.invocation_id)
                > _values(*decode_token(after))
            )

        def work(connection: Connection) -> tuple[tuple[InvocationRecord, ...], bool]:
            rows = connection.execute(statement, {"session_": key, "limit_": limit + 1}).all()
            page = tuple(invocations.record(connection, row) for row in rows[:limit])
            return page, len(rows) > limit

        page, more = await self._database.read(work)
        return page, encode_token(page[-1].created_at, page[-1].invocation_id) if more else None

    async def count(self, key: str, state: InvocationState) -> int:
        """How many of a session's invocations stand so."""
        parameters = {"session_": key, "state_": state.value}
        return await self._database.read(
            lambda connection: connection.execute(_COUNT, parameters).scalar_one()
        )

    async def transcript(
        self, key: str, *, after_seq: int, limit: int
    ) -> tuple[TranscriptEntry, ...]:
        """The messages behind `after_seq`, oldest first, `limit` at most."""
        parameters = {"session_": key, "after": after_seq, "limit_": limit}
        rows = await self._database.read(
            lambda connection: connection.execute(_MESSAGES, parameters).all()
        )
        return tuple(
            TranscriptEntry(row.seq, row.invocation_id, row.body, row.model_id, row.created_at)
            for row in rows
        )

    async def calls(self, key: str, *, after: tuple[int, int], limit: int) -> tuple[CallEntry, ...]:
        """The tool calls behind (seq, position), in call order, `limit` at most."""
        parameters = {"session_": key, "seq_": after[0], "position_": after[1], "limit_": limit}
        rows = await self._database.read(
            lambda connection: connection.execute(_CALLS, parameters).all()
        )
        return tuple(
            CallEntry(
                seq=row.seq,
                position=row.position,
                id=row.id,
                name=row.name,
                state=CallState(row.state),
                status=row.status,
                digest=row.digest,
                invocation_id=row.invocation_id,
                snapshot_id=row.snapshot_id,
            )
            for row in rows
        )

    async def snapshots(self, key: str, from_seq: int, upto_seq: int) -> dict[int, dict[str, str]]:
        """The snapshots that were made before calls of these messages: by seq, by call."""
        parameters = {"session_": key, "from_": from_seq, "upto_": upto_seq}
        rows = await self._database.read(
            lambda connection: connection.execute(_SNAPSHOTS, parameters).all()
        )
        found: dict[int, dict[str, str]] = {}
        for row in rows:
            found.setdefault(row.seq, {})[row.id] = row.snapshot_id
        return found


def _conditions(wanted: SessionFilter, after: str | None) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.harness_id is not None:
        found.append(session.c.harness_id == wanted.harness_id)
    if wanted.actor_id is not None:
        found.append(session.c.actor_id == wanted.actor_id)
    if wanted.status is not None:
        found.append(_STATUS == sa.literal(wanted.status.value))
    if wanted.created_after is not None:
        found.append(session.c.created_at > wanted.created_after)
    if wanted.created_before is not None:
        found.append(session.c.created_at < wanted.created_before)
    if after is not None:
        created_at, key = decode_token(after)
        if not key.startswith("session:"):
            raise bad_token()
        found.append(_place(session.c.created_at, session.c.key) < _values(created_at, key))
    return found


def _place(created_at: sa.Column[Any], name: sa.Column[Any]) -> sa.Tuple:
    return sa.tuple_(created_at, name)


def _values(created_at: datetime, name: str) -> sa.Tuple:
    return sa.tuple_(
        sa.literal(created_at, session.c.created_at.type), sa.literal(name, sa.String())
    )


def _session(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        key=row.key,
        harness_id=row.harness_id,
        runtime_session_id=row.runtime_session_id,
        actor_id=row.actor_id,
        status=SessionStatus(row.status),
        running=row.running,
        messages=row.last_seq,
        cursor=row.last_cursor,
        created_at=row.created_at,
        active_at=row.active_at,
        forked_seq=row.forked_seq,
        forked_from=row.forked_from,
        defaults=row.defaults,
    )
