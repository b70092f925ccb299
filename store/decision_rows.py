"""Rows of decisions: opened when calls begin to wait, closed by whoever comes first.

Everything that changes them holds the session's lock.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.decisions import (
    BY_CALLER,
    BY_DEADLINE,
    RESUME_PREFIX,
    DecisionRecord,
    DecisionStatus,
    Gate,
    NewVote,
    VerdictKind,
    VoteRecord,
    VoteState,
)
from contracts.errors import AwsError, ServiceError
from contracts.harness import RunConfig
from contracts.notices import NoticeKind
from contracts.records import InvocationState
from contracts.tools import ToolKind
from store import invocations
from store.decision_tables import OPEN as _OPEN
from store.decision_tables import decision, decision_who, vote
from store.notice_rows import write_notices
from store.session import LockedSession
from store.tables import invocation, session

#: In `decision_who`, of a decision that names nobody in particular.
ANYBODY = "anybody"

_GET = sa.select(decision).where(decision.c.id == sa.bindparam("id"))
_OPEN_OF_SESSION = (
    sa.select(decision)
    .where(decision.c.session == sa.bindparam("session"), _OPEN)
    .order_by(decision.c.id)
)
_CLOSED_OF_CALLS = sa.select(decision).where(
    decision.c.session == sa.bindparam("session"),
    decision.c.tool_use_id.in_(sa.bindparam("ids", expanding=True)),
    decision.c.status != DecisionStatus.OPEN.value,
)
_VOTES = sa.select(vote).where(vote.c.decision == sa.bindparam("decision")).order_by(vote.c.number)
_SESSION = sa.select(session.c.account, session.c.harness_id, session.c.runtime_session_id).where(
    session.c.key == sa.bindparam("key")
)
_CLOSE = (
    sa.update(decision)
    .where(
        decision.c.session == sa.bindparam("session_"),
        decision.c.tool_use_id.in_(sa.bindparam("ids", expanding=True)),
        _OPEN,
    )
    .values(
        status=sa.bindparam("new_status"),
        decided_at=sa.bindparam("at", type_=decision.c.decided_at.type),
        decided_by=sa.bindparam("by", type_=decision.c.decided_by.type),
    )
    .returning(decision.c.id, decision.c.account)
)
_OF_RESUME = (
    invocation.c.session == sa.bindparam("session"),
    invocation.c.invocation_id.like(f"{RESUME_PREFIX}%"),
)
_RESUME = sa.union_all(
    sa.select(invocation.c.invocation_id).where(
        *_OF_RESUME, invocation.c.state == sa.literal_column(f"'{InvocationState.NEW.value}'")
    ),
    sa.select(invocation.c.invocation_id).where(
        *_OF_RESUME,
        invocation.c.state == sa.literal_column(f"'{InvocationState.OPEN.value}'"),
        invocations.UNTOUCHED,
    ),
)


def decision_id(session_key: str, tool_use_id: str) -> str:
    """The id of the decision about a call."""
    name = f"{session_key}\n{tool_use_id}"
    return f"dec-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def open_decisions(locked: LockedSession, calls: Sequence[Any]) -> None:
    """Open a decision about each call that begins to wait, or about what looks like one."""
    place = locked.connection.execute(_SESSION, {"key": locked.key}).one()
    now = datetime.now(UTC)
    configs: dict[str, RunConfig] = {}
    rows: list[dict[str, Any]] = []
    who: list[dict[str, str]] = []
    for each in calls:
        if each.invocation_id not in configs:
            asked = invocations.find_with_config(locked.connection, locked.key, each.invocation_id)
            configs[each.invocation_id] = asked.config
        lineage = configs[each.invocation_id].lineage
        gate: Gate = each.gate or Gate(namespace=each.name)
        name = decision_id(locked.key, each.id)
        rows.append(
            {
                "id": name,
                "session": locked.key,
                "tool_use_id": each.id,
                "account": place.account,
                "harness_id": place.harness_id,
                "harness_version": configs[each.invocation_id].harness_version,
                "runtime_session_id": place.runtime_session_id,
                "invocation_id": each.invocation_id,
                "root_session": lineage.root_session if lineage else None,
                "tool": each.name,
                "kind": each.kind,
                "proposed": each.input,
                "arguments": each.input,
                "digest": each.digest,
                "revision": 1,
                "gate": gate,
                "escalated": False,
                "status": DecisionStatus.OPEN.value,
                "requested_at": now,
                "due_at": due(now, gate.terms.deadline_seconds),
            }
        )
        who += _who(name, gate)
    locked.connection.execute(sa.insert(decision), rows)
    locked.connection.execute(sa.insert(decision_who), who)
    write_notices(locked, NoticeKind.OPENED, [(row["id"], row["account"]) for row in rows])


def due(now: datetime, deadline_s: int | None) -> datetime | None:
    """When a deadline falls that begins now."""
    return None if deadline_s is None else now + timedelta(seconds=deadline_s)


def names(gate: Gate) -> list[str]:
    """Who may take part, as `decision_who` has them."""
    deciders = gate.terms.deciders
    if deciders.anybody:
        return [ANYBODY]
    named = [*(f"user:{user}" for user in deciders.users)]
    named += [f"role:{role}" for role in deciders.roles]
    return list(dict.fromkeys(named))


def set_gate(connection: Connection, decision_id: str, gate: Gate, **values: Any) -> None:
    """Change who decides and how, and other columns with it."""
    connection.execute(
        sa.update(decision).where(decision.c.id == decision_id).values(gate=gate, **values)
    )
    connection.execute(sa.delete(decision_who).where(decision_who.c.decision == decision_id))
    connection.execute(sa.insert(decision_who), _who(decision_id, gate))


def close(
    locked: LockedSession, tool_use_ids: Iterable[str], status: DecisionStatus, by: str
) -> None:
    """Close the open decisions about calls."""
    closed = locked.connection.execute(
        _CLOSE,
        {
            "session_": locked.key,
            "ids": list(tool_use_ids),
            "new_status": status.value,
            "at": datetime.now(UTC),
            "by": by,
        },
    )
    write_notices(locked, NoticeKind.CLOSED, [(each.id, each.account) for each in closed])


def how_decided(
    connection: Connection, session_key: str, tool_use_ids: Iterable[str]
) -> dict[str, str]:
    """For calls whose decision is closed: how, in words for whoever comes too late."""
    ids = list(tool_use_ids)
    if not ids:
        return {}
    rows = connection.execute(_CLOSED_OF_CALLS, {"session": session_key, "ids": ids})
    return {row.tool_use_id: told(record(row)) for row in rows}


def told(closed: DecisionRecord) -> str:
    """How a decision ended, to follow the call's name."""
    at = f"{closed.decided_at:%Y-%m-%d %H:%M:%S} UTC" if closed.decided_at else ""
    match closed.status, closed.decided_by:
        case DecisionStatus.WITHDRAWN, _:
            return f"was withdrawn at {at}, because its turn ended"
        case DecisionStatus.ANSWERED, by if by == BY_CALLER:
            return f"was answered by a toolResult at {at}"
        case status, by if by == BY_DEADLINE:
            return f"was {status.value} by its deadline at {at}"
        case status, by:
            return f"was {status.value} by {by} at {at}"


def resume_due(connection: Connection, session_key: str) -> str | None:
    """The invocation that is to resume the session's turn and has called no model, if there is one.

    One that is open may be known to the session's workflow, which then runs it, or not.
    """
    return connection.execute(_RESUME, {"session": session_key}).scalar()


def open_of(connection: Connection, session_key: str) -> list[DecisionRecord]:
    """The open decisions of a session."""
    return [record(row) for row in connection.execute(_OPEN_OF_SESSION, {"session": session_key})]


def find(connection: Connection, decision_id: str) -> DecisionRecord | None:
    """A decision with its votes."""
    row = connection.execute(_GET, {"id": decision_id}).first()
    if row is None:
        return None
    votes = connection.execute(_VOTES, {"decision": decision_id})
    return record(row, tuple(vote_record(each) for each in votes))


def fetch(connection: Connection, account: str, decision_id: str) -> DecisionRecord:
    """A decision of an account, with its votes.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    found = find(connection, decision_id)
    if found is None or found.account != account:
        raise ServiceError(AwsError.NOT_FOUND, f"There is no decision {decision_id}.")
    return found


def record(row: Row[Any], votes: tuple[VoteRecord, ...] = ()) -> DecisionRecord:
    """The contract's record of a row of `decision`."""
    return DecisionRecord(
        id=row.id,
        session=row.session,
        account=row.account,
        harness_id=row.harness_id,
        harness_version=row.harness_version,
        runtime_session_id=row.runtime_session_id,
        invocation_id=row.invocation_id,
        tool_use_id=row.tool_use_id,
        tool=row.tool,
        kind=None if row.kind is None else ToolKind(row.kind),
        proposed=row.proposed,
        arguments=row.arguments,
        digest=row.digest,
        revision=row.revision,
        gate=row.gate,
        escalated=row.escalated,
        status=DecisionStatus(row.status),
        requested_at=row.requested_at,
        due_at=row.due_at,
        decided_at=row.decided_at,
        decided_by=row.decided_by,
        votes=votes,
        root_session=row.root_session,
    )


def vote_record(row: Row[Any]) -> VoteRecord:
    """The contract's record of a row of `vote`."""
    return VoteRecord(
        vote=NewVote(
            vote_id=row.vote_id,
            digest=row.digest,
            kind=VerdictKind(row.kind),
            reason=row.reason,
            arguments=row.arguments,
            answer=row.answer,
        ),
        decider=row.decider,
        at=row.at,
        state=VoteState(row.state),
        revision=row.revision,
        refusal=row.refusal,
    )


def _who(decision_id: str, gate: Gate) -> list[dict[str, str]]:
    return [{"decision": decision_id, "who": who} for who in names(gate)]
