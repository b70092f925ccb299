"""Withdrawing decisions: what happens to those whose turn ended otherwise."""

from datetime import UTC, datetime

import sqlalchemy as sa

from contracts.decisions import DecisionStatus
from store.decision_tables import OPEN, decision
from store.session import LockedSession

_WITHDRAW = (
    sa.update(decision)
    .where(decision.c.session == sa.bindparam("session_"), OPEN)
    .values(
        status=DecisionStatus.WITHDRAWN.value,
        decided_at=sa.bindparam("at", type_=decision.c.decided_at.type),
    )
)


def withdraw(locked: LockedSession) -> None:
    """Close whatever is open: the turn ended, and its calls with it."""
    locked.connection.execute(_WITHDRAW, {"session_": locked.key, "at": datetime.now(UTC)})
