"""Notices: what is to be sent, what became of it, and the list of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.decisions import DecisionStatus
from contracts.notices import (
    DELIVERY_S,
    NoticeChannel,
    NoticeKind,
    NoticeRecord,
    NoticeState,
)
from store.decision_rows import record as decision_record
from store.decision_tables import decision
from store.engine import Database
from store.notice_tables import notice
from store.paging import check_limit, decode_token, encode_token

#: Notices that one look returns.
MAX_DUE = 100
#: Seconds after which a notice that was given to a workflow, and still waits, is given to one
#: again: the workflow has long ended, or was ended by hand.
AGAIN_S = DELIVERY_S + 3600
#: Of a notice that nobody wants any more.
TOO_OLD = "It was more than a day old when there was first somewhere to send it."

_WAITS = notice.c.state == sa.literal_column(f"'{NoticeState.WAITING.value}'")
_DUE = (
    sa.select(notice.c.id, notice.c.channel)
    .where(_WAITS, notice.c.due_at <= sa.bindparam("now_", type_=notice.c.due_at.type))
    .order_by(notice.c.due_at)
    .limit(MAX_DUE)
)
_ONE = notice.c.id == sa.bindparam("id_")
_CHANGE = sa.update(notice).where(_ONE, _WAITS)
_OWN = (
    "id",
    "kind",
    "at",
    "state",
    "due_at",
    "attempts",
    "error",
    "settled_at",
    "channel",
    "recipient",
)
_WITH_DECISION = sa.select(
    *(notice.c[name].label(f"notice_{name}") for name in _OWN), *decision.c
).join_from(notice, decision, notice.c.decision == decision.c.id)
_READ = _WITH_DECISION.where(_ONE)


_ROW = sa.select(notice).where(_ONE, _WAITS).with_for_update()


@dataclass(frozen=True)
class Due:
    """A notice that waits for a workflow.

    Attributes:
        id: which.
        spread: whether it is known how it is sent.
    """

    id: str
    spread: bool


class Notices:
    """The notices of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def due(self, channels: Sequence[NoticeChannel]) -> tuple[Due, ...]:
        """Notices that wait for a workflow, oldest first, `MAX_DUE` at most.

        Args:
            channels: only those that are sent in one of these ways, or in none yet.
        """
        statement = _DUE.where(
            sa.or_(
                notice.c.channel.is_(None), notice.c.channel.in_(each.value for each in channels)
            )
        )

        def work(connection: Connection) -> tuple[Due, ...]:
            rows = connection.execute(statement, {"now_": datetime.now(UTC)})
            return tuple(Due(row.id, row.channel is not None) for row in rows)

        return await self._database.read(work)

    async def get(self, notice_id: str) -> NoticeRecord | None:
        """A notice; None when it went with its session."""

        def work(connection: Connection) -> NoticeRecord | None:
            row = connection.execute(_READ, {"id_": notice_id}).first()
            return None if row is None else _record(row)

        return await self._database.read(work)

    async def spread(
        self, notice_id: str, ways: Sequence[tuple[NoticeChannel, str | None]]
    ) -> None:
        """Make one notice for each way in which a notice is to be sent, once.

        Args:
            notice_id: the notice, which takes the first way.
            ways: channel, and the recipient's address of mail; at least one.
        """

        def work(connection: Connection) -> None:
            row = connection.execute(_ROW, {"id_": notice_id}).mappings().first()
            if row is None or row["channel"] is not None:
                return
            (channel, recipient), *others = ways
            connection.execute(
                _CHANGE.values(channel=channel.value, recipient=recipient), {"id_": notice_id}
            )
            for number, (channel, recipient) in enumerate(others, start=2):
                way = {"channel": channel.value, "recipient": recipient}
                copy = {**row, "id": f"{notice_id}.{number}", **way}
                connection.execute(sa.insert(notice), copy)

        await self._database.write(work)

    async def given(self, notice_id: str) -> None:
        """Write down that a workflow has a notice; it is due again when that must have ended."""
        later = datetime.now(UTC) + timedelta(seconds=AGAIN_S)
        await self._change(notice_id, due_at=later)

    async def begin(self, notice_id: str) -> NoticeRecord | None:
        """Count an attempt to send a notice.

        Returns:
            What is to be sent; None when there is nothing to send: it is settled, or it went with
            its session, or it is more than `DELIVERY_S` old and its decision no longer waits.
        """

        def work(connection: Connection) -> NoticeRecord | None:
            row = connection.execute(_READ, {"id_": notice_id}).first()
            if row is None or row.notice_state != NoticeState.WAITING:
                return None
            found = _record(row)
            if not found.attempts and _is_stale(found):
                _change(connection, notice_id, **_settled(NoticeState.FAILED), error=TOO_OLD)
                return None
            _change(connection, notice_id, attempts=notice.c.attempts + 1)
            return found

        return await self._database.write(work)

    async def missed(self, notice_id: str, why: str) -> None:
        """Write down why a notice could not be delivered; it still waits."""
        await self._change(notice_id, error=why)

    async def delivered(self, notice_id: str) -> None:
        """Write down that the receiver has a notice."""
        await self._change(notice_id, **_settled(NoticeState.DELIVERED))

    async def give_up(self, notice_id: str, why: str | None = None) -> None:
        """Write down that a notice is not sent any more, unless it is delivered.

        Args:
            notice_id: which.
            why: the reason; without one that of the last attempt stays.
        """
        reason = {} if why is None else {"error": why}
        await self._change(notice_id, **_settled(NoticeState.FAILED), **reason)

    async def list(
        self, account: str, *, state: NoticeState | None, limit: int, after: str | None
    ) -> tuple[tuple[NoticeRecord, ...], str | None]:
        """Notices of an account, newest first.

        Args:
            account: the twelve-digit account.
            state: only those that stand so.
            limit: how many at most, from 1 to 100.
            after: the token that the page before returned.

        Returns:
            The notices, and the token of the next page; None at the end.

        Raises:
            ServiceError: ValidationException.
        """
        check_limit(limit)
        statement = _WITH_DECISION.where(notice.c.account == account)
        if state is not None:
            statement = statement.where(notice.c.state == state.value)
        if after is not None:
            at, last = decode_token(after)
            place = sa.tuple_(sa.literal(at, notice.c.at.type), sa.literal(last, sa.String))
            statement = statement.where(sa.tuple_(notice.c.at, notice.c.id) < place)
        statement = statement.order_by(notice.c.at.desc(), notice.c.id.desc()).limit(limit + 1)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        found = tuple(_record(row) for row in rows[:limit])
        more = len(rows) > limit
        return found, encode_token(found[-1].at, found[-1].id) if more else None

    async def _change(self, notice_id: str, **values: Any) -> None:
        await self._database.write(lambda connection: _change(connection, notice_id, **values))


def _change(connection: Connection, notice_id: str, **values: Any) -> None:
    """Change a notice that waits; one that is settled stays as it is."""
    connection.execute(_CHANGE.values(**values), {"id_": notice_id})


def _settled(outcome: NoticeState) -> dict[str, Any]:
    return {"state": outcome.value, "settled_at": datetime.now(UTC)}


def _is_stale(found: NoticeRecord) -> bool:
    if found.kind is not NoticeKind.CLOSED and found.decision.status is DecisionStatus.OPEN:
        return False
    return found.at < datetime.now(UTC) - timedelta(seconds=DELIVERY_S)


def _record(row: Row[Any]) -> NoticeRecord:
    return NoticeRecord(
        id=row.notice_id,
        kind=NoticeKind(row.notice_kind),
        at=row.notice_at,
        state=NoticeState(row.notice_state),
        attempts=row.notice_attempts,
        error=row.notice_error,
        settled_at=row.notice_settled_at,
        decision=decision_record(row),
        channel=NoticeChannel(row.notice_channel) if row.notice_channel else None,
        recipient=row.notice_recipient,
    )
