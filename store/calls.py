"""Tool calls: intent before the effect, outcome after it, the first one for good.

These are single statements that need no lock on the session: an outcome is never overwritten, and
whoever settles a message reads the calls again after deciding.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.messages import ToolStatus
from contracts.records import CallRecord
from contracts.tools import CallState, ToolKind
from store.bounds import MAX_OUTCOME_BYTES, check_size
from store.engine import Database
from store.tables import call, session

_KEY = (call.c.session == sa.bindparam("session_"), call.c.id == sa.bindparam("id_"))
_GET = sa.select(call).where(*_KEY)
_START = (
    sa.update(call)
    .where(*_KEY, call.c.state == CallState.REQUESTED.value)
    .values(state=CallState.STARTED.value, boot_id=sa.bindparam("boot"))
    .returning(*call.c)
)
_FINISH = (
    sa.update(call)
    .where(*_KEY, call.c.state != CallState.DONE.value)
    .values(
        state=CallState.DONE.value,
        status=sa.bindparam("outcome"),
        content=sa.bindparam("pieces", type_=call.c.content.type),
    )
    .returning(*call.c)
)
_NOTE_SNAPSHOT = (
    sa.update(call).where(*_KEY).values(snapshot_id=sa.bindparam("snapshot_")).returning(*call.c)
)
_PENDING = (
    sa.select(call)
    .where(
        call.c.session == sa.bindparam("session_"),
        call.c.seq
        == sa.select(session.c.calls_seq)
        .where(session.c.key == sa.bindparam("session_"))
        .scalar_subquery(),
        call.c.state == CallState.WAITING.value,
    )
    .order_by(call.c.position)
)


class Calls:
    """The tool calls of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def get(self, session: str, tool_use_id: str) -> CallRecord:
        """A call as it stands.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.read(lambda connection: _get(connection, session, tool_use_id))

    async def start(self, session: str, tool_use_id: str, boot_id: str) -> CallRecord:
        """Write the intent to run a call: REQUESTED becomes STARTED under the environment's boot.

        Returns:
            The call. One that was started or is done already comes back unchanged, with the boot id
            that it was started under.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        parameters = {"session_": session, "id_": tool_use_id, "boot": boot_id}
        return await self._update(_START, parameters)

    async def finish(
        self, session: str, tool_use_id: str, *, status: ToolStatus, content: Sequence[str]
    ) -> CallRecord:
        """Write a call's outcome; the first one stays.

        Args:
            session: the session's key.
            tool_use_id: which call.
            status: how it went.
            content: text pieces, together at most `MAX_OUTCOME_BYTES`.

        Returns:
            The call with the outcome that counts.

        Raises:
            ServiceError: ResourceNotFoundException.
            TooLarge: the content is too long.
        """
        check_size("the outcome of a tool call", content, MAX_OUTCOME_BYTES)
        parameters = {
            "session_": session,
            "id_": tool_use_id,
            "outcome": status.value,
            "pieces": tuple(content),
        }
        return await self._update(_FINISH, parameters)

    async def note_snapshot(self, session: str, tool_use_id: str, snapshot_id: str) -> CallRecord:
        """Keep which snapshot was made before a call.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        parameters = {"session_": session, "id_": tool_use_id, "snapshot_": snapshot_id}
        return await self._update(_NOTE_SNAPSHOT, parameters)

    async def pending(self, session: str) -> tuple[CallRecord, ...]:
        """The calls that wait for the caller, in call order."""

        def work(connection: Connection) -> tuple[CallRecord, ...]:
            rows = connection.execute(_PENDING, {"session_": session})
            return tuple(call_record(row) for row in rows)

        return await self._database.read(work)

    async def _update(self, statement: sa.UpdateBase, parameters: dict[str, Any]) -> CallRecord:
        def work(connection: Connection) -> CallRecord:
            row = connection.execute(statement, parameters).first()
            if row is not None:
                return call_record(row)
            return _get(connection, parameters["session_"], parameters["id_"])

        return await self._database.update(work)


def _get(connection: Connection, session: str, tool_use_id: str) -> CallRecord:
    row = connection.execute(_GET, {"session_": session, "id_": tool_use_id}).first()
    if row is None:
        raise ServiceError(AwsError.NOT_FOUND, f"Session {session} has no tool call {tool_use_id}.")
    return call_record(row)


def call_record(row: Row[Any]) -> CallRecord:
    """The contract's record of a row of `call`."""
    return CallRecord(
        id=row.id,
        session=row.session,
        invocation_id=row.invocation_id,
        step=row.step,
        seq=row.seq,
        position=row.position,
        name=row.name,
        kind=None if row.kind is None else ToolKind(row.kind),
        queue=row.queue,
        timeout_s=row.timeout_s,
        input=row.input,
        digest=row.digest,
        state=CallState(row.state),
        boot_id=row.boot_id,
        status=None if row.status is None else ToolStatus(row.status),
        content=outcome_text(row),
        gate=row.gate,
        snapshot_id=row.snapshot_id,
    )


def outcome_text(row: Row[Any]) -> tuple[str, ...]:
    """The text of a call's outcome, with what people said about the call."""
    content: tuple[str, ...] = row.content or ()
    return (*content, row.note) if row.note and content else content
