"""What was used of budgets: sums of settled model calls, and of summaries not yet in one."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.budget import ADD_TOKENS, ADD_USD, ADDS, BUDGET_TOOL, Budget, More, Overrun, added
from contracts.decisions import RESUME_PREFIX, DecisionStatus, Gate
from contracts.errors import StaleAttempt
from contracts.messages import StopReason, TokenUsage
from contracts.tools import ToolKind
from contracts.usage import Usage
from store.decision_rows import decision_id, find, open_decisions, open_of, resume_due
from store.decision_tables import decision
from store.digests import call_digest
from store.engine import Database
from store.session import LockedSession
from store.tables import session, summary
from store.usage import TOTALS, usage_of
from store.usage_tables import model_usage

_KINDS = tuple(TokenUsage.model_fields)
_OF_SESSION = sa.select(*TOTALS).where(model_usage.c.session == sa.bindparam("session"))
_SUMMARIES = sa.select(
    sa.func.count().label("calls"),
    *(sa.func.coalesce(sa.func.sum(summary.c[kind]), 0).label(kind) for kind in _KINDS),
    sa.func.sum(summary.c.cost_pico_usd).label("cost"),
    sa.func.count(summary.c.cost_pico_usd).label("priced"),
).where(summary.c.session == sa.bindparam("session"), sa.not_(summary.c.counted))
_APPROVED = sa.select(decision.c.arguments).where(
    decision.c.session == sa.bindparam("session"),
    decision.c.kind == ToolKind.BUDGET.value,
    decision.c.status == DecisionStatus.APPROVED.value,
)
_PLACE = sa.select(session.c.account, session.c.harness_id).where(
    session.c.key == sa.bindparam("session")
)
_OF_HARNESS = (
    sa.select(*TOTALS)
    .join_from(session, model_usage)
    .where(
        session.c.account == sa.bindparam("account"),
        session.c.harness_id == sa.bindparam("harness_id"),
    )
)


class Budgets:
    """The budgets of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def meet(
        self, session_key: str, invocation_id: str, step: int, budget: Budget
    ) -> StopReason | None:
        """See whether a limit is met before a model call; at most one decision opens for each call.

        Args:
            session_key: the session.
            invocation_id: whose model call it is.
            step: which.
            budget: the limits.

        Returns:
            How the turn ends now, PARTIAL_TURN when people are to decide; None when it goes on.

        Raises:
            StaleAttempt: the invocation does not run any more.
        """

        def look(connection: Connection) -> tuple[Overrun, ...]:
            return _overruns(connection, session_key, budget)

        def ask(connection: Connection) -> StopReason | None:
            locked = LockedSession.lock(connection, session_key)
            if locked.running != invocation_id:
                raise StaleAttempt(f"invocation {invocation_id} does not run")
            met = look(connection)
            if not met:
                return None
            asked = _Asked(invocation_id, step, budget, met)
            if find(connection, decision_id(session_key, asked.id)) is None:
                open_decisions(locked, (asked,))
            return StopReason.PARTIAL_TURN

        if not await self._database.read(look):
            return None
        if budget.at_limit == "stop":
            return StopReason.MAX_OUTPUT_TOKENS_EXCEEDED
        return await self._database.write(ask)


class _Asked:
    """What a decision about a budget is opened with, in the place of a call that waits."""

    def __init__(
        self, invocation_id: str, step: int, budget: Budget, met: tuple[Overrun, ...]
    ) -> None:
        self.invocation_id = invocation_id
        self.id = f"{BUDGET_TOOL}-{invocation_id}-{step}"
        self.name = BUDGET_TOOL
        self.kind = ToolKind.BUDGET.value
        self.input: dict[str, Any] = {
            member: max(each.proposed for each in met if each.member == member)
            for member in (ADD_USD, ADD_TOKENS)
            if any(each.member == member for each in met)
        }
        self.digest = call_digest(self.name, self.input)
        self.gate = Gate(
            terms=budget.terms,
            rule="; ".join(map(str, met)),
            namespace=BUDGET_TOOL,
            parameters=ADDS,
        )


def waits_for_budget(connection: Connection, session_key: str) -> str | None:
    """The decision that a session's paused turn waits for, or that is about to resume it."""
    for each in open_of(connection, session_key):
        if each.kind is ToolKind.BUDGET:
            return each.id
    resume = resume_due(connection, session_key)
    if resume is None:
        return None
    found = find(connection, resume.removeprefix(RESUME_PREFIX))
    return found.id if found is not None and found.kind is ToolKind.BUDGET else None


def _overruns(connection: Connection, session_key: str, budget: Budget) -> tuple[Overrun, ...]:
    key = {"session": session_key}
    unsettled = usage_of(connection.execute(_SUMMARIES, key).one())
    of_session = of_harness = Usage()
    if budget.of_session:
        of_session = usage_of(connection.execute(_OF_SESSION, key).one()) + unsettled
    if budget.of_harness:
        of_harness = _of_harness(connection, session_key) + unsettled
    more = [added(row.arguments) for row in connection.execute(_APPROVED, key)]
    whole = More(sum(each.pico_usd for each in more), sum(each.tokens for each in more))
    return budget.overruns(of_session, of_harness, whole)


def _of_harness(connection: Connection, session_key: str) -> Usage:
    place = connection.execute(_PLACE, {"session": session_key}).one()
    found = connection.execute(
        _OF_HARNESS, {"account": place.account, "harness_id": place.harness_id}
    )
    return usage_of(found.one())
