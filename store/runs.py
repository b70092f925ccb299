"""Turns from beginning to end: one invocation began it, later ones may have resumed it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.decisions import RESUME_PREFIX
from contracts.messages import StopReason, ToolStatus
from contracts.records import InvocationState, RunRecord, StoredMessage
from contracts.tools import CallState
from contracts.usage import Usage
from store.budgets import waits_for_budget
from store.calls import call_record
from store.decision_rows import find, resume_due
from store.engine import Database
from store.invocations import get, line_of
from store.session import LockedSession
from store.settling import calls_of, cut_short, settle
from store.tables import call, message, session
from store.usage import SUMS, usage_of
from store.withdrawing import withdraw

_LIVE = (InvocationState.NEW, InvocationState.OPEN)

_OF_LINE = (
    message.c.session == sa.bindparam("session_"),
    message.c.invocation_id.in_(sa.bindparam("line", expanding=True)),
    message.c.step.is_not(None),
)
_NEWEST = (
    sa.select(message.c.seq, message.c.invocation_id, message.c.body)
    .where(*_OF_LINE)
    .order_by(message.c.seq.desc())
    .limit(1)
)
_SPENT = sa.select(*SUMS).where(*_OF_LINE)
_OUTPUT = (
    # In no order: SQLite would go through all of the session's calls to have one.
    sa.select(call.c.seq, call.c.position, call.c.input).where(
        call.c.session == sa.bindparam("session_"),
        call.c.invocation_id.in_(sa.bindparam("line", expanding=True)),
        # Written out, as the index on such calls has it.
        call.c.kind == sa.literal_column("'output'"),
        call.c.status == ToolStatus.SUCCESS.value,
    )
)
_CALLS_SEQ = sa.select(session.c.calls_seq).where(session.c.key == sa.bindparam("session_"))
_DELETING = sa.select(session.c.deleting).where(session.c.key == sa.bindparam("session_"))


class Runs:
    """The turns of all sessions, as those see them who wait for their end."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def get(self, session_key: str, invocation_id: str) -> RunRecord:
        """The turn that an invocation began or resumed, as it stands.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.read(
            lambda connection: _get(connection, session_key, invocation_id)
        )

    async def listeners(self, session_key: str, invocation_id: str) -> tuple[str, ...]:
        """The workflows that wait for the end of the turn which an invocation began or resumed.

        None wait for an invocation that there is not.
        """

        def work(connection: Connection) -> tuple[str, ...]:
            if get(connection, session_key, invocation_id) is None:
                return ()
            line = line_of(connection, session_key, invocation_id)
            return tuple(dict.fromkeys(row.reply_to for row in line if row.reply_to))

        return await self._database.read(work)

    async def withdraw(self, session_key: str, invocation_id: str) -> bool:
        """Stop waiting for people: calls of the turn that wait get an error as their outcome.

        Whoever answers them afterwards learns that they do not wait any more.

        Returns:
            Whether the turn is over now. It is not when it runs, or was resumed meanwhile.

        Raises:
            ServiceError: ResourceNotFoundException.
        """

        def work(connection: Connection) -> bool:
            locked = LockedSession.lock(connection, session_key)
            run = _get(connection, session_key, invocation_id)
            if run.paused:
                withdraw(locked)
            if run.waiting:
                cut_short(
                    locked,
                    (CallState.REQUESTED, CallState.STARTED, CallState.WAITING),
                    StopReason.INTERRUPTED,
                    None,
                )
                settle(locked, run.waiting[0].invocation_id)
                locked.save()
            return run.live is None

        return await self._database.write(work)


def _get(connection: Connection, session_key: str, invocation_id: str) -> RunRecord:
    line = line_of(connection, session_key, invocation_id)
    key: dict[str, Any] = {"session_": session_key, "line": [row.invocation_id for row in line]}
    if connection.execute(_DELETING, {"session_": session_key}).scalar_one():
        return RunRecord(None, (), None, None, None, None, Usage(), deleted=True)
    live = next((row for row in line if row.state in _LIVE), None)
    if live is not None:
        below = live.waits_below
        return RunRecord(live.invocation_id, (), None, None, None, None, Usage(), below=below)
    newest = line[-1]
    paused = _paused(connection, session_key, newest)
    if paused is not None and resume_due(connection, session_key) is not None:
        return RunRecord(f"{RESUME_PREFIX}{paused}", (), None, None, None, None, Usage())
    found = connection.execute(_NEWEST, key).first()
    outputs = connection.execute(_OUTPUT, key).all()
    return RunRecord(
        live=None,
        waiting=tuple(call_record(row) for row in _unsettled(connection, key)),
        stop_reason=StopReason(newest.stop_reason) if newest.stop_reason else None,
        error=newest.error,
        message=None
        if found is None
        else StoredMessage(found.seq, found.invocation_id, found.body),
        output=max(outputs, key=lambda row: (row.seq, row.position)).input if outputs else None,
        usage=usage_of(connection.execute(_SPENT, key).one()),
        paused=paused is not None,
    )


def _paused(connection: Connection, session_key: str, newest: Row[Any]) -> str | None:
    """The decision about its budget that a turn waits for, when this was its last invocation."""
    if newest.stop_reason != StopReason.PARTIAL_TURN:
        return None
    paused = waits_for_budget(connection, session_key)
    found = None if paused is None else find(connection, paused)
    same = found is not None and found.invocation_id == newest.invocation_id
    return paused if same else None


def _unsettled(connection: Connection, key: dict[str, Any]) -> Sequence[Row[Any]]:
    """Calls of the line that keep the session's newest message unsettled."""
    seq = connection.execute(_CALLS_SEQ, {"session_": key["session_"]}).scalar_one()
    calls = calls_of(connection, key["session_"], seq) if seq else ()
    if not calls or calls[0].invocation_id not in key["line"]:
        return ()
    waiting = [row for row in calls if row.state == CallState.WAITING]
    # Between the last answer and the invocation that brings it nothing waits, and yet it goes on.
    return waiting or calls
