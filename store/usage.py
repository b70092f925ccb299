"""What model calls used, as far as their steps have settled.

Sums of a session are kept as its steps settle. Those of an invocation are made of its messages.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.messages import TokenUsage
from contracts.usage import CallUsage, InvocationUsage, ModelUsage, SessionUsage, Usage
from store.engine import Database
from store.inserts import insert_or_add
from store.paging import decode_token, encode_token
from store.tables import invocation, message, session
from store.usage_tables import model_usage

_KINDS = tuple(TokenUsage.model_fields)
#: What of model calls is summed, as columns over rows of `message`.
SUMS = (
    sa.func.count().label("calls"),
    *(sa.func.coalesce(sa.func.sum(message.c[kind]), 0).label(kind) for kind in _KINDS),
    sa.func.sum(message.c.cost_pico_usd).label("cost"),
    sa.func.count(message.c.cost_pico_usd).label("priced"),
)
#: The same over rows of `model_usage`.
TOTALS = tuple(
    sa.func.coalesce(sa.func.sum(model_usage.c[name]), 0).label(name)
    for name in ("calls", *_KINDS, "cost", "priced")
)
_OF_SESSION = (message.c.session == sa.bindparam("session"), message.c.step.is_not(None))
_OF_HARNESS = (
    session.c.account == sa.bindparam("account"),
    session.c.harness_id == sa.bindparam("harness_id"),
)

#: Where the page before ended; pages go from the newest to the oldest.
_PLACE = sa.tuple_(
    sa.bindparam("created_at", type_=session.c.created_at.type), sa.bindparam("identifier")
)

_SESSION_MODELS = (
    sa.select(model_usage)
    .where(model_usage.c.session == sa.bindparam("session"))
    .order_by(model_usage.c.model_id)
)
_SESSION_INVOCATIONS = (
    sa.select(message.c.invocation_id, *SUMS)
    .where(*_OF_SESSION, message.c.invocation_id.in_(sa.bindparam("invocations", expanding=True)))
    .group_by(message.c.invocation_id)
)
_INVOCATIONS = (
    sa.select(
        invocation.c.invocation_id,
        invocation.c.state,
        invocation.c.stop_reason,
        invocation.c.created_at,
    )
    .where(invocation.c.session == sa.bindparam("session"))
    .order_by(invocation.c.created_at.desc(), invocation.c.invocation_id.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_LATER_INVOCATIONS = _INVOCATIONS.where(
    sa.tuple_(invocation.c.created_at, invocation.c.invocation_id) < _PLACE
)
_CALLS = (
    sa.select(
        message.c.step,
        message.c.model_id,
        *(message.c[kind] for kind in _KINDS),
        message.c.cost_pico_usd,
        message.c.latency_ms,
        message.c.created_at,
    )
    .where(*_OF_SESSION, message.c.invocation_id == sa.bindparam("invocation"))
    .order_by(message.c.step)
)
_CALL = _CALLS.where(message.c.step == sa.bindparam("step", type_=sa.Integer))
_HARNESS_MODELS = (
    sa.select(model_usage.c.model_id, *TOTALS)
    .join_from(session, model_usage)
    .where(*_OF_HARNESS)
    .group_by(model_usage.c.model_id)
    .order_by(model_usage.c.model_id)
)
_SESSIONS = (
    sa.select(session.c.key, session.c.runtime_session_id, session.c.created_at)
    .where(*_OF_HARNESS)
    .order_by(session.c.created_at.desc(), session.c.key.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_LATER_SESSIONS = _SESSIONS.where(sa.tuple_(session.c.created_at, session.c.key) < _PLACE)
_SESSION_SUM = sa.select(*TOTALS).where(model_usage.c.session == sa.bindparam("session"))
_KNOWN = sa.select(session.c.key).where(session.c.key == sa.bindparam("session"))


class UsageReport:
    """Tokens and money of sessions and harnesses."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def knows(self, session_key: str) -> bool:
        """Whether there is such a session."""
        return await self._database.read(
            lambda connection: (
                connection.execute(_KNOWN, {"session": session_key}).first() is not None
            )
        )

    async def of_session(self, session_key: str) -> tuple[ModelUsage, ...]:
        """What a session used, by model."""
        return await self._models(_SESSION_MODELS, {"session": session_key})

    async def of_harness(self, account: str, harness_id: str) -> tuple[ModelUsage, ...]:
        """What all sessions of a harness used, by model."""
        return await self._models(_HARNESS_MODELS, {"account": account, "harness_id": harness_id})

    async def invocations(
        self, session_key: str, *, limit: int, after: str | None = None
    ) -> tuple[tuple[InvocationUsage, ...], str | None]:
        """What each of a page of a session's invocations used, newest first.

        Args:
            session_key: the session.
            limit: invocations on the page.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one.

        Raises:
            ServiceError: ValidationException for a bad token.
        """
        key: dict[str, Any] = {"session": session_key, "limit": limit + 1, **_place(after)}
        statement = _INVOCATIONS if after is None else _LATER_INVOCATIONS

        def work(connection: Connection) -> tuple[tuple[InvocationUsage, ...], str | None]:
            found, token = _page(connection.execute(statement, key).all(), limit, "invocation_id")
            named = {
                "session": session_key,
                "invocations": [row.invocation_id for row in found],
            }
            sums = {
                row.invocation_id: usage_of(row)
                for row in connection.execute(_SESSION_INVOCATIONS, named)
            }
            page = tuple(
                InvocationUsage(
                    invocation_id=row.invocation_id,
                    state=row.state,
                    stop_reason=row.stop_reason,
                    created_at=row.created_at,
                    usage=sums.get(row.invocation_id, Usage()),
                )
                for row in found
            )
            return page, token

        return await self._database.read(work)

    async def calls(self, session_key: str, invocation_id: str) -> tuple[CallUsage, ...]:
        """Every model call of an invocation, in order."""

        def work(connection: Connection) -> tuple[CallUsage, ...]:
            key = {"session": session_key, "invocation": invocation_id}
            return tuple(_call(row) for row in connection.execute(_CALLS, key))

        return await self._database.read(work)

    async def call(self, session_key: str, invocation_id: str, step: int) -> CallUsage | None:
        """One model call of an invocation; None before it is settled."""
        key = {"session": session_key, "invocation": invocation_id, "step": step}

        def work(connection: Connection) -> CallUsage | None:
            row = connection.execute(_CALL, key).first()
            return None if row is None else _call(row)

        return await self._database.read(work)

    async def sessions(
        self, account: str, harness_id: str, *, limit: int, after: str | None = None
    ) -> tuple[tuple[SessionUsage, ...], str | None]:
        """What each of a page of a harness's sessions used, newest first.

        Args:
            account: the owner.
            harness_id: the harness.
            limit: sessions on the page.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one.

        Raises:
            ServiceError: ValidationException for a bad token.
        """
        key: dict[str, Any] = {"account": account, "harness_id": harness_id, "limit": limit + 1}
        key |= _place(after)
        statement = _SESSIONS if after is None else _LATER_SESSIONS

        def work(connection: Connection) -> tuple[tuple[SessionUsage, ...], str | None]:
            found, token = _page(connection.execute(statement, key).all(), limit, "key")
            page = tuple(
                SessionUsage(
                    runtime_session_id=row.runtime_session_id,
                    created_at=row.created_at,
                    usage=usage_of(connection.execute(_SESSION_SUM, {"session": row.key}).one()),
                )
                for row in found
            )
            return page, token

        return await self._database.read(work)

    async def _models(
        self, statement: sa.Select[Any], key: dict[str, str]
    ) -> tuple[ModelUsage, ...]:
        def work(connection: Connection) -> Sequence[ModelUsage]:
            return [
                ModelUsage(row.model_id, usage_of(row))
                for row in connection.execute(statement, key)
            ]

        return tuple(await self._database.read(work))


def _place(after: str | None) -> dict[str, Any]:
    if after is None:
        return {}
    created_at, identifier = decode_token(after)
    return {"created_at": created_at, "identifier": identifier}


def _page(rows: Sequence[Any], limit: int, identifier: str) -> tuple[Sequence[Any], str | None]:
    """The rows of a page, of which one more was asked for, and the token of the next."""
    page = rows[:limit]
    if len(rows) <= limit:
        return page, None
    return page, encode_token(page[-1].created_at, getattr(page[-1], identifier))


def _tokens(row: Any) -> TokenUsage:
    return TokenUsage(**{kind: int(getattr(row, kind)) for kind in _KINDS})


def count_call(
    connection: Connection,
    session_key: str,
    model_id: str,
    usage: TokenUsage,
    cost_pico_usd: int | None,
) -> None:
    """Add a model call to its session's sums, in the transaction that settles its step."""
    row = {
        "session": session_key,
        "model_id": model_id,
        "calls": 1,
        **usage.model_dump(),
        "cost": cost_pico_usd or 0,
        "priced": int(cost_pico_usd is not None),
    }
    insert_or_add(connection, model_usage, row)


def usage_of(row: Any) -> Usage:
    """The sum in a row of `SUMS` or `TOTALS`."""
    return Usage(
        model_calls=row.calls,
        tokens=_tokens(row),
        cost_pico_usd=int(row.cost) if row.priced else None,
        unpriced_calls=row.calls - row.priced,
    )


def _call(row: Any) -> CallUsage:
    return CallUsage(
        step=row.step,
        model_id=row.model_id,
        usage=Usage.of_call(_tokens(row), row.cost_pico_usd),
        latency_ms=row.latency_ms,
        at=row.created_at,
    )
