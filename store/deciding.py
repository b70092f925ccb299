"""Taking decisions: votes are counted and deadlines applied, under the session's lock.

A call stops waiting in the same transaction that closes its decision, so that of two who come at
once one is first. When nothing waits any more, that transaction also admits the invocation which
resumes the turn: whatever dies after it, the row says what is owed.
"""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.decisions import (
    BY_DEADLINE,
    RESUME_PREFIX,
    DecisionRecord,
    DecisionStatus,
    NewVote,
    Principal,
    VerdictKind,
    VoteState,
)
from contracts.errors import ServiceError
from contracts.harness import HarnessConfig
from contracts.messages import ToolStatus
from contracts.notices import NoticeKind
from contracts.records import InvocationState
from contracts.tools import CallState, ToolKind
from store import invocations
from store.decision_rows import close, due, find, open_of, set_gate
from store.decision_tables import vote
from store.digests import call_digest
from store.inserts import insert_or_ignore
from store.notice_rows import write_notices
from store.session import LockedSession
from store.settling import calls_of
from store.tables import call, invocation
from store.vote_rules import agreed, check_vote, gate_of_edit, is_edit

#: Of edited arguments, what the model is told; the whole is in the decision.
TOLD_ARGUMENTS = 4000
_OF_CALL = (
    call.c.session == sa.bindparam("session_"),
    call.c.id == sa.bindparam("id_"),
    call.c.state == CallState.WAITING.value,
)
_LET_RUN = (
    sa.update(call)
    .where(*_OF_CALL)
    .values(
        state=CallState.REQUESTED.value,
        gate=None,
        input=sa.bindparam("arguments", type_=call.c.input.type),
        digest=sa.bindparam("new_digest"),
        note=sa.bindparam("words", type_=call.c.note.type),
    )
)
_FINISH = (
    sa.update(call)
    .where(*_OF_CALL)
    .values(
        state=CallState.DONE.value,
        gate=None,
        status=sa.bindparam("outcome"),
        content=sa.bindparam("pieces", type_=call.c.content.type),
    )
)
_VOTE = (vote.c.decision == sa.bindparam("decision_"), vote.c.vote_id == sa.bindparam("vote_"))
_CAST = sa.select(vote.c.roles).where(*_VOTE, vote.c.state == VoteState.CAST.value)
_COUNTED = (
    sa.update(vote)
    .where(*_VOTE)
    .values(state=VoteState.COUNTED.value, revision=sa.bindparam("agreed_to"))
)
_REFUSED = (
    sa.update(vote)
    .where(*_VOTE)
    .values(
        state=VoteState.REFUSED.value,
        refusal=sa.bindparam("why", type_=vote.c.refusal.type),
    )
)


def count_vote(connection: Connection, session_key: str, decision_id: str, vote_id: str) -> None:
    """See `Decisions.count`."""
    locked = LockedSession.lock(connection, session_key)
    _apply_deadlines(locked)
    found = find(connection, decision_id)
    if found is None or found.session != session_key:
        return
    key = {"decision_": decision_id, "vote_": vote_id}
    cast = connection.execute(_CAST, key).first()
    if cast is None:
        return
    mine = next(each for each in found.votes if each.vote.vote_id == vote_id)
    try:
        revision = _count(locked, found, mine.vote, Principal(mine.decider, cast.roles))
    except ServiceError as refusal:
        connection.execute(_REFUSED, {**key, "why": refusal.detail})
    else:
        connection.execute(_COUNTED, {**key, "agreed_to": revision})


def expire(connection: Connection, session_key: str) -> None:
    """See `Decisions.expire`."""
    _apply_deadlines(LockedSession.lock(connection, session_key))


def config_of(connection: Connection, found: DecisionRecord) -> HarnessConfig:
    """What the invocation runs with whose call a decision is about."""
    row = invocations.find_with_config(connection, found.session, found.invocation_id)
    return row.config.config


def _count(locked: LockedSession, found: DecisionRecord, new: NewVote, who: Principal) -> int:
    """Do what a vote says.

    Returns:
        The revision that it agrees to.
    """
    check_vote(found, new, who)
    if new.kind is VerdictKind.REJECT:
        reason = f": {new.reason}" if new.reason else "."
        _finish(
            locked,
            found,
            DecisionStatus.REJECTED,
            who.user,
            ToolStatus.ERROR,
            f"Rejected by {who.user}{reason}\nThe call was not run.",
        )
        return found.revision
    if new.kind is VerdictKind.ANSWER:
        answered = DecisionStatus.ANSWERED
        _finish(locked, found, answered, who.user, ToolStatus.SUCCESS, new.answer or "")
        return found.revision
    agreeing = [*agreed(found), who.user]
    if is_edit(found, new):
        found = _edit(locked, found, new.arguments or {}, who)
        agreeing = [who.user]
    if len(agreeing) >= found.gate.terms.required:
        _approve(locked, found, who.user, new.reason)
    return found.revision


def _edit(
    locked: LockedSession, found: DecisionRecord, arguments: dict[str, Any], who: Principal
) -> DecisionRecord:
    config = config_of(locked.connection, found)
    gate = gate_of_edit(found, config.extensions.approvals, arguments, who)
    set_gate(
        locked.connection,
        found.id,
        gate,
        arguments=arguments,
        digest=call_digest(found.tool, arguments),
        revision=found.revision + 1,
    )
    edited = find(locked.connection, found.id)
    assert edited is not None
    return edited


def _approve(locked: LockedSession, found: DecisionRecord, by: str, reason: str | None) -> None:
    if not found.runs_here:
        said = {"approved": True, "by": by, **({"reason": reason} if reason else {})}
        text = json.dumps(said, ensure_ascii=False)
        _finish(locked, found, DecisionStatus.APPROVED, by, ToolStatus.SUCCESS, text)
        return
    locked.connection.execute(
        _LET_RUN,
        {
            "session_": locked.key,
            "id_": found.tool_use_id,
            "arguments": found.arguments,
            "new_digest": found.digest,
            "words": _note(found, by, reason),
        },
    )
    close(locked, (found.tool_use_id,), DecisionStatus.APPROVED, by)
    _resume_when_decided(locked, found)


def _finish(
    locked: LockedSession,
    found: DecisionRecord,
    status: DecisionStatus,
    by: str,
    outcome: ToolStatus,
    text: str,
) -> None:
    """Close a decision with the call's outcome."""
    locked.connection.execute(
        _FINISH,
        {
            "session_": locked.key,
            "id_": found.tool_use_id,
            "outcome": outcome.value,
            "pieces": (text,),
        },
    )
    close(locked, (found.tool_use_id,), status, by)
    _resume_when_decided(locked, found)


def _note(found: DecisionRecord, by: str, reason: str | None) -> str | None:
    """What the model reads beside the outcome of a call that people changed or commented."""
    notes: list[str] = []
    if found.arguments != found.proposed:
        told = json.dumps(found.arguments, ensure_ascii=False)[:TOLD_ARGUMENTS]
        notes.append(f"Its arguments were changed before it ran; these were used: {told}")
    if reason:
        notes.append(f"Approved by {by}: {reason}")
    return "\n" + "\n".join(notes) if notes else None


def _resume_when_decided(locked: LockedSession, last: DecisionRecord) -> None:
    calls = calls_of(locked.connection, locked.key, locked.calls_seq) if locked.calls_seq else ()
    # A turn that waits for its budget has no calls: every end of the decision is told to it.
    if last.kind is not ToolKind.BUDGET and not calls:
        return
    if any(found.state == CallState.WAITING for found in calls):
        return
    asked = invocations.find(locked.connection, locked.key, last.invocation_id)
    insert_or_ignore(
        locked.connection,
        invocation,
        {
            "session": locked.key,
            "invocation_id": f"{RESUME_PREFIX}{last.id}",
            "state": InvocationState.NEW.value,
            "request_digest": "",
            "config_digest": asked.config_digest,
            "messages": (),
            "first_cursor": locked.last_cursor + 1,
            "created_at": datetime.now(UTC),
        },
    )


def _apply_deadlines(locked: LockedSession) -> None:
    now = datetime.now(UTC)
    for found in open_of(locked.connection, locked.key):
        if found.due_at is None or found.due_at > now:
            continue
        terms = found.gate.terms
        if terms.on_timeout == "escalate" and terms.escalate_to is not None:
            _escalate(locked, found, now)
        elif terms.on_timeout == "approve":
            _approve(locked, found, BY_DEADLINE, None)
        else:
            _finish(
                locked,
                found,
                DecisionStatus.EXPIRED,
                BY_DEADLINE,
                ToolStatus.ERROR,
                "Rejected: nobody decided in time. The call was not run.",
            )


def _escalate(locked: LockedSession, found: DecisionRecord, now: datetime) -> None:
    """Others decide from now on; what was agreed to before still counts."""
    terms = found.gate.terms
    further = terms.escalate_to
    assert further is not None
    changed = terms.model_copy(
        update={
            "deciders": further.deciders,
            "deadline_seconds": further.deadline_seconds,
            "on_timeout": further.on_timeout,
            "escalate_to": None,
        }
    )
    set_gate(
        locked.connection,
        found.id,
        found.gate.model_copy(update={"terms": changed}),
        escalated=True,
        due_at=due(now, further.deadline_seconds),
    )
    write_notices(locked, NoticeKind.ESCALATED, [(found.id, found.account)])
