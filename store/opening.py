"""Opening an invocation: its messages join the session, or it is refused, in one transaction."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.admission import Answer, PendingCall, TurnPlan, plan_turn
from contracts.decisions import BY_CALLER, RESUME_PREFIX, DecisionRecord, DecisionStatus
from contracts.errors import AwsError, ErrorDetail, ServiceError, invalid
from contracts.events import NO_STEP, Opened
from contracts.messages import Message, StopReason, ToolResultBlock
from contracts.records import InvocationState, Opening
from contracts.tools import CallState, ToolKind
from store import invocations
from store.budgets import waits_for_budget
from store.calls import call_record
from store.closing import end, refuse, skip
from store.decision_rows import close as close_decisions
from store.decision_rows import find, how_decided, open_of
from store.session import LockedSession
from store.settling import calls_of, hand_over, settle
from store.tables import call

#: What an invocation is told that was still open when the next one began: its run was stopped by
#: hand.
ABANDONED = ErrorDetail(AwsError.INTERNAL, "The run was stopped before the invocation ended.")

#: Decided calls whose turn another invocation resumed.
RESUMED = ErrorDetail(AwsError.CONFLICT, "Another invocation resumed the turn.")

_TO_DO = (CallState.REQUESTED, CallState.STARTED)

_ANSWER = (
    sa.update(call)
    .where(call.c.session == sa.bindparam("session_"), call.c.id == sa.bindparam("id_"))
    .values(
        state=CallState.DONE.value,
        status=sa.bindparam("outcome"),
        content=sa.bindparam("pieces", type_=call.c.content.type),
        gate=None,
    )
)


def open_invocation(connection: Connection, session_key: str, invocation_id: str) -> Opening:
    """See `Turns.open`."""
    locked = LockedSession.lock(connection, session_key)
    row = invocations.find_with_config(connection, session_key, invocation_id)
    state = InvocationState(row.state)
    if state is InvocationState.NEW:
        state = _begin(locked, row)
    if state is not InvocationState.OPEN:
        return Opening(state, locked.last_seq, (), False, row.config)
    calls = calls_of(connection, session_key, locked.calls_seq) if locked.calls_seq else ()
    waiting = any(found.state == CallState.WAITING for found in calls)
    # Those that are begun, too: whoever had begun them may have died, and beginning again joins.
    todo = () if waiting else tuple(call_record(found) for found in calls if found.state in _TO_DO)
    resumes = invocations.find(connection, session_key, invocation_id).root is not None
    return Opening(state, locked.last_seq, todo, waiting, row.config, resumes)


def _begin(locked: LockedSession, row: Row[Any]) -> InvocationState:
    if row.invocation_id.startswith(RESUME_PREFIX):
        return _resume(locked, row.invocation_id)
    if locked.running is not None:
        end(locked, locked.running, None, ABANDONED)
    calls = calls_of(locked.connection, locked.key, locked.calls_seq) if locked.calls_seq else ()
    pending = [found for found in calls if found.state == CallState.WAITING]
    try:
        if (paused := waits_for_budget(locked.connection, locked.key)) is not None:
            raise invalid(
                "messages", f"the session's turn waits for a decision about its budget: {paused}"
            )
        plan = plan_turn(
            row.messages,
            tuple(PendingCall(found.id, found.name) for found in pending),
            decided=_decided(locked, row.messages),
            resuming=bool(calls) and not pending,
        )
    except ServiceError as error:
        refuse(locked, row.invocation_id, error.detail)
        locked.save()
        return InvocationState.REFUSED
    invocations.mark_open(locked, row.invocation_id)
    locked.emit(row.invocation_id, NO_STEP, 0, Opened())
    _apply(locked, row.invocation_id, plan)
    locked.save()
    return InvocationState.OPEN


def _resume(locked: LockedSession, invocation_id: str) -> InvocationState:
    """Take up a turn whose calls, or whose budget, people have decided about."""
    decided = find(locked.connection, invocation_id.removeprefix(RESUME_PREFIX))
    if decided is not None and decided.kind is ToolKind.BUDGET:
        return _resume_paused(locked, invocation_id, decided)
    if locked.running is not None:
        # Its run was stopped after it had handed its calls over, which is how it ended.
        end(locked, locked.running, StopReason.TOOL_USE, None)
    calls = calls_of(locked.connection, locked.key, locked.calls_seq) if locked.calls_seq else ()
    if not calls or any(found.state == CallState.WAITING for found in calls):
        refuse(locked, invocation_id, RESUMED)
        locked.save()
        return InvocationState.REFUSED
    invocations.mark_open(locked, invocation_id)
    locked.emit(invocation_id, NO_STEP, 0, Opened())
    settle(locked, invocation_id)
    locked.save()
    return InvocationState.OPEN


def _resume_paused(
    locked: LockedSession, invocation_id: str, decided: DecisionRecord
) -> InvocationState:
    """Take up a turn that waited for its budget, or end it when there is no more."""
    if locked.running is not None:
        # Its run was stopped after it had asked for more, which is how it ended.
        end(locked, locked.running, StopReason.PARTIAL_TURN, None)
    asked = invocations.find(locked.connection, locked.key, decided.invocation_id)
    if asked.stop_reason != StopReason.PARTIAL_TURN or open_of(locked.connection, locked.key):
        refuse(locked, invocation_id, RESUMED)
        locked.save()
        return InvocationState.REFUSED
    invocations.mark_resumed(locked, invocation_id, decided.invocation_id)
    if decided.status is not DecisionStatus.APPROVED:
        skip(locked, invocation_id)
        locked.save()
        return InvocationState.ENDED
    invocations.mark_open(locked, invocation_id)
    locked.emit(invocation_id, NO_STEP, 0, Opened())
    locked.save()
    return InvocationState.OPEN


def _decided(locked: LockedSession, messages: Sequence[Message]) -> dict[str, str]:
    """How the calls were decided that the newest of the messages answers."""
    answered = [
        block.tool_use_id
        for message in messages[-1:]
        for block in message.blocks
        if isinstance(block, ToolResultBlock)
    ]
    return how_decided(locked.connection, locked.key, answered)


def _apply(locked: LockedSession, invocation_id: str, plan: TurnPlan) -> None:
    if plan.answers or plan.resumes:
        _answer(locked, plan.answers)
        if plan.text:
            locked.held_text = plan.text
        calls = settle(locked, invocation_id)
        if any(found.state == CallState.WAITING for found in calls):
            hand_over(locked, invocation_id, calls)
    for spoken in plan.append:
        locked.say(invocation_id, spoken)


def _answer(locked: LockedSession, answers: Sequence[Answer]) -> None:
    if not answers:
        return
    answered = [answer.tool_use_id for answer in answers]
    close_decisions(locked, answered, DecisionStatus.ANSWERED, BY_CALLER)
    locked.connection.execute(
        _ANSWER,
        [
            {
                "session_": locked.key,
                "id_": answer.tool_use_id,
                "outcome": answer.status.value,
                "pieces": answer.content,
            }
            for answer in answers
        ],
    )
