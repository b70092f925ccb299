"""Writing notices, in the transaction that changes their decisions.

They are written whether or not anything is there to send them to: the store does not know what
workers are configured for, and a row beside each decision's own costs little.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa

from contracts.notices import NoticeKind, NoticeState
from store.notice_tables import notice
from store.session import LockedSession


def write_notices(
    locked: LockedSession, kind: NoticeKind, decisions: Iterable[tuple[str, str]]
) -> None:
    """Write down that something happened to decisions.

    Args:
        locked: their session.
        kind: what happened.
        decisions: id and account of each.
    """
    now = datetime.now(UTC)
    rows = [
        {
            "id": f"ntc-{uuid.uuid4().hex}",
            "session": locked.key,
            "decision": decision_id,
            "account": account,
            "kind": kind.value,
            "at": now,
            "state": NoticeState.WAITING.value,
            "due_at": now,
            "attempts": 0,
        }
        for decision_id, account in decisions
    ]
    if rows:
        locked.connection.execute(sa.insert(notice), rows)
