"""Withdrawing decisions: what happens to those whose turn ended otherwise."""

from datetime import UTC, datetime

import sqlalchemy as sa

from contracts.decisions import DecisionStatus
from contracts.notices import NoticeKind
from store.decision_tables import OPEN, decision
from store.notice_rows import write_notices
from store.session import LockedSession

_WITHDRAW = (
    sa.update(decision)
    .where(decision.c.session == sa.bindparam("session_"), OPEN)
    .values(
        status=DecisionStatus.WITHDRAWN.value,
        decided_at=sa.bindparam("at", type_=decision.c.decided_at.type),
    )
    .returning(decision.c.id, decision.c.account)
)


def withdraw(locked: LockedSession) -> None:
    """Close whatever is open: the turn ended, and its calls with it."""
    named = {"session_": locked.key, "at": datetime.now(UTC)}
    withdrawn = locked.connection.execute(_WITHDRAW, named)
    write_notices(locked, NoticeKind.CLOSED, [(each.id, each.account) for each in withdrawn])
