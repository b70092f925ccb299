"""The inbox: decisions over all sessions of an account, by who may take them."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.decisions import DecisionRecord, DecisionStatus, Principal
from store.decision_rows import ANYBODY, record
from store.decision_tables import decision, decision_who
from store.paging import check_limit, decode_token, encode_token


@dataclass(frozen=True)
class InboxFilter:
    """Which decisions are asked for.

    Attributes:
        status: where they stand.
        who: only those that this person may decide about, by name or by role.
        role: only those that name this role.
        user: only those that name this user.
        root_session: only those asked for in this session, `HARNESS_ID/RUNTIME_SESSION_ID`, or by
            agents below it.
        harness_id: only those of this harness.
        before: only those asked for earlier than this.
    """

    status: DecisionStatus = DecisionStatus.OPEN
    who: Principal | None = None
    role: str | None = None
    user: str | None = None
    root_session: str | None = None
    harness_id: str | None = None
    before: datetime | None = None


def read_inbox(
    connection: Connection, *, account: str, wanted: InboxFilter, limit: int, after: str | None
) -> tuple[tuple[DecisionRecord, ...], str | None]:
    """See `Decisions.list`."""
    check_limit(limit)
    rising = wanted.status is DecisionStatus.OPEN
    place = sa.tuple_(decision.c.requested_at, decision.c.id)
    statement = sa.select(decision).where(
        decision.c.account == account, decision.c.status == wanted.status.value, *_filters(wanted)
    )
    if after is not None:
        at, last = decode_token(after)
        beyond = sa.tuple_(
            sa.literal(at, decision.c.requested_at.type), sa.literal(last, sa.String)
        )
        statement = statement.where(place > beyond if rising else place < beyond)
    order = [column.asc() if rising else column.desc() for column in _PLACE]
    rows = connection.execute(statement.order_by(*order).limit(limit + 1)).all()
    more = rows[limit - 1] if len(rows) > limit else None
    token = None if more is None else encode_token(more.requested_at, more.id)
    return tuple(record(row) for row in rows[:limit]), token


_PLACE = (decision.c.requested_at, decision.c.id)


def _filters(wanted: InboxFilter) -> list[sa.ColumnElement[bool]]:
    filters: list[sa.ColumnElement[bool]] = []
    if wanted.who is not None:
        roles = [f"role:{role}" for role in wanted.who.roles]
        filters.append(_names(ANYBODY, f"user:{wanted.who.user}", *roles))
    if wanted.role is not None:
        filters.append(_names(f"role:{wanted.role}"))
    if wanted.user is not None:
        filters.append(_names(f"user:{wanted.user}"))
    if wanted.root_session is not None:
        filters.append(_below(wanted.root_session))
    if wanted.harness_id is not None:
        filters.append(decision.c.harness_id == wanted.harness_id)
    if wanted.before is not None:
        filters.append(decision.c.requested_at < wanted.before)
    return filters


def _below(root_session: str) -> sa.ColumnElement[bool]:
    harness_id, _, name = root_session.partition("/")
    return sa.or_(
        decision.c.root_session == root_session,
        sa.and_(decision.c.harness_id == harness_id, decision.c.runtime_session_id == name),
    )


def _names(*who: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(decision_who.c.decision == decision.c.id, decision_who.c.who.in_(who))
