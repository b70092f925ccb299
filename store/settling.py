"""Settling: outcomes of tool calls become visible, and in the end a message of the transcript.

All calls of the newest assistant message that have an outcome and are not shown yet get one RESULTS
row, in call order. Once every call has an outcome, the user message with all results follows the
assistant message.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import ErrorDetail
from contracts.events import NO_STEP, Handover, Results
from contracts.messages import Message, StopReason, ToolResultBlock, ToolStatus
from contracts.tools import CallState
from store.calls import outcome_text
from store.session import LockedSession
from store.tables import call
from store.withdrawing import withdraw

_OF_MESSAGE = (
    sa.select(call)
    .where(call.c.session == sa.bindparam("session"), call.c.seq == sa.bindparam("seq"))
    .order_by(call.c.position)
)
_SHOW = (
    sa.update(call)
    .where(
        call.c.session == sa.bindparam("session_"),
        call.c.seq == sa.bindparam("seq_"),
        call.c.position.in_(sa.bindparam("positions", expanding=True)),
    )
    .values(shown=True)
)
_CUT_SHORT = (
    sa.update(call)
    .where(
        call.c.session == sa.bindparam("session_"),
        call.c.seq == sa.bindparam("seq_"),
        call.c.state.in_(sa.bindparam("states", expanding=True)),
    )
    .values(
        state=CallState.DONE.value,
        status=ToolStatus.ERROR.value,
        content=sa.bindparam("why", type_=call.c.content.type),
    )
)


def calls_of(connection: Connection, session: str, seq: int) -> Sequence[Row[Any]]:
    """The tool calls of an assistant message, in call order, as rows of `call`."""
    return connection.execute(_OF_MESSAGE, {"session": session, "seq": seq}).all()


def settle(session: LockedSession, invocation_id: str) -> Sequence[Row[Any]]:
    """Settle what is due, on behalf of an invocation. The caller saves the session.

    Returns:
        The calls of the newest assistant message as they stand, in call order; empty when all its
        results are in the transcript.
    """
    if session.calls_seq == 0:
        return ()
    calls = calls_of(session.connection, session.key, session.calls_seq)
    done = [row for row in calls if row.state == CallState.DONE]
    due = [row for row in done if not row.shown]
    if due:
        session.emit(
            invocation_id,
            step_of(due[0], invocation_id),
            due[0].position,
            Results(tool_use_ids=tuple(row.id for row in due)),
        )
    if len(done) < len(calls):
        if due:
            session.connection.execute(
                _SHOW,
                {
                    "session_": session.key,
                    "seq_": session.calls_seq,
                    "positions": [row.position for row in due],
                },
            )
        return calls
    results = tuple(
        ToolResultBlock(
            tool_use_id=row.id, status=ToolStatus(row.status), content=outcome_text(row)
        )
        for row in calls
    )
    session.say(invocation_id, Message(role="user", blocks=(*results, *(session.held_text or ()))))
    session.calls_seq = 0
    session.held_text = None
    return ()


def hand_over(session: LockedSession, invocation_id: str, calls: Sequence[Row[Any]]) -> None:
    """Tell the caller once more which calls wait, after results went over the stream."""
    waiting = tuple(row.id for row in calls if row.state == CallState.WAITING)
    session.emit(invocation_id, step_of(calls[0], invocation_id), 0, Handover(tool_use_ids=waiting))


def cut_short(
    session: LockedSession,
    states: Sequence[CallState],
    reason: StopReason | None,
    error: ErrorDetail | None,
) -> None:
    """Give calls of the newest assistant message that stand in `states` an error as outcome."""
    if session.calls_seq == 0:
        return
    if CallState.WAITING in states:
        withdraw(session)
    why = error.error.value if error else (reason.value if reason else "interrupted")
    session.connection.execute(
        _CUT_SHORT,
        {
            "session_": session.key,
            "seq_": session.calls_seq,
            "states": [state.value for state in states],
            "why": (f"The call was cut short: {why}. It may have had a partial effect.",),
        },
    )


def step_of(row: Row[Any], invocation_id: str) -> int:
    """The step that rows about a call belong to, in the log of an invocation."""
    return row.step if row.invocation_id == invocation_id else NO_STEP
