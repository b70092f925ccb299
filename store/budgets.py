"""What was used of budgets: sums over settled model calls, and over summaries not yet in one."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.budget import Budget
from contracts.messages import TokenUsage
from contracts.usage import Usage
from store.engine import Database
from store.tables import message, session, summary
from store.usage import SUMS, usage_of

_KINDS = tuple(TokenUsage.model_fields)
_OF_SESSION = sa.select(*SUMS).where(
    message.c.session == sa.bindparam("session"), message.c.step.is_not(None)
)
_SUMMARIES = sa.select(
    sa.func.count().label("calls"),
    *(sa.func.coalesce(sa.func.sum(summary.c[kind]), 0).label(kind) for kind in _KINDS),
    sa.func.sum(summary.c.cost_pico_usd).label("cost"),
    sa.func.count(summary.c.cost_pico_usd).label("priced"),
).where(summary.c.session == sa.bindparam("session"), sa.not_(summary.c.counted))
_PLACE = sa.select(session.c.account, session.c.harness_id).where(
    session.c.key == sa.bindparam("session")
)
_OF_HARNESS = (
    sa.select(*SUMS)
    .join_from(session, message)
    .where(
        session.c.account == sa.bindparam("account"),
        session.c.harness_id == sa.bindparam("harness_id"),
        message.c.step.is_not(None),
    )
)


class Budgets:
    """The budgets of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def spent(self, session_key: str, budget: Budget) -> bool:
        """Whether a session, or its harness, has met a limit of a budget."""

        def work(connection: Connection) -> bool:
            key = {"session": session_key}
            unsettled = usage_of(connection.execute(_SUMMARIES, key).one())
            if budget.of_session:
                used = usage_of(connection.execute(_OF_SESSION, key).one())
                if budget.spent_by_session(used + unsettled):
                    return True
            return budget.of_harness and budget.spent_by_harness(
                _of_harness(connection, session_key) + unsettled
            )

        return await self._database.read(work)


def _of_harness(connection: Connection, session_key: str) -> Usage:
    place = connection.execute(_PLACE, {"session": session_key}).one()
    found = connection.execute(
        _OF_HARNESS, {"account": place.account, "harness_id": place.harness_id}
    )
    return usage_of(found.one())
