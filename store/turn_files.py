"""What tool calls did to sessions' files, by invocation. The sandbox host writes, others read."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.records import InvocationState
from contracts.turn_files import TurnFiles
from store.engine import Database
from store.inserts import insert_or_ignore
from store.tables import invocation, session, turn_files

_KEY = (
    turn_files.c.session == sa.bindparam("session_"),
    turn_files.c.invocation_id == sa.bindparam("invocation_"),
)
_GET = sa.select(turn_files.c.found, turn_files.c.settled).where(*_KEY)
_MANY = sa.select(turn_files).where(
    turn_files.c.session == sa.bindparam("session_"),
    turn_files.c.invocation_id.in_(sa.bindparam("invocations", expanding=True)),
)
_SET = (
    sa.update(turn_files)
    .where(*_KEY)
    .values(
        settled=sa.bindparam("settled_"),
        found=sa.bindparam("found_", type_=turn_files.c.found.type),
    )
)
_UNSETTLED = (
    sa.select(turn_files.c.session, turn_files.c.invocation_id)
    .join(session, session.c.key == turn_files.c.session)
    .where(session.c.host == sa.bindparam("host_"), ~turn_files.c.settled)
    .limit(sa.bindparam("limit_", type_=sa.Integer))
)
_RUNNING = sa.select(invocation.c.session, invocation.c.invocation_id).where(
    invocation.c.state.in_((InvocationState.NEW.value, InvocationState.OPEN.value)),
    invocation.c.session.in_(sa.bindparam("sessions", expanding=True)),
    invocation.c.invocation_id.in_(sa.bindparam("invocations", expanding=True)),
)

#: A session's key and an invocation of it.
Turn = tuple[str, str]
#: Turns that are looked at together.
TOGETHER = 100


class TurnFilesLists:
    """The lists of all invocations."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def begin(self, session_key: str, invocation_id: str) -> TurnFiles | None:
        """Say that tool calls of an invocation are about to touch files.

        Returns:
            What is known of them; None when this is the first to say so.

        Raises:
            sqlalchemy.exc.IntegrityError: the session is gone.
        """

        def work(connection: Connection) -> TurnFiles | None:
            row = {
                "session": session_key,
                "invocation_id": invocation_id,
                "settled": False,
                "found": TurnFiles(),
            }
            if insert_or_ignore(connection, turn_files, row):
                return None
            return _get(connection, session_key, invocation_id)

        return await self._database.write(work)

    async def put(self, session_key: str, invocation_id: str, found: TurnFiles) -> None:
        """Replace what is known. Nothing happens once the session is gone."""
        parameters = {
            "session_": session_key,
            "invocation_": invocation_id,
            "settled_": found.settled,
            "found_": found,
        }
        await self._database.update(lambda connection: connection.execute(_SET, parameters))

    async def get(self, session_key: str, invocation_id: str) -> TurnFiles | None:
        """What is known; None when no tool call has touched files."""
        return await self._database.read(
            lambda connection: _get(connection, session_key, invocation_id)
        )

    async def of(self, session_key: str, invocation_ids: Sequence[str]) -> dict[str, TurnFiles]:
        """What is known of a page of invocations; those whose calls touched no files are absent."""
        parameters = {"session_": session_key, "invocations": list(invocation_ids)}
        rows = await self._database.read(
            lambda connection: connection.execute(_MANY, parameters).all()
        )
        return {row.invocation_id: replace(row.found, settled=row.settled) for row in rows}

    async def unsettled(self, host: str) -> tuple[Turn, ...]:
        """Turns on a host whose end was not looked at, `TOGETHER` at most."""
        parameters = {"host_": host, "limit_": TOGETHER}
        rows = await self._database.read(
            lambda connection: connection.execute(_UNSETTLED, parameters).all()
        )
        return tuple((row.session, row.invocation_id) for row in rows)

    async def running(self, turns: Sequence[Turn]) -> set[Turn]:
        """Which of these have not ended."""
        found: set[Turn] = set()
        for start in range(0, len(turns), TOGETHER):
            sessions, invocations = zip(*turns[start : start + TOGETHER], strict=True)
            parameters = {"sessions": list(set(sessions)), "invocations": list(set(invocations))}
            rows = await self._database.read(
                lambda connection: connection.execute(_RUNNING, parameters).all()  # noqa: B023
            )
            found |= {(row.session, row.invocation_id) for row in rows}
        return found & set(turns)


def _get(connection: Connection, session_key: str, invocation_id: str) -> TurnFiles | None:
    parameters = {"session_": session_key, "invocation_": invocation_id}
    row = connection.execute(_GET, parameters).first()
    return None if row is None else replace(row.found, settled=row.settled)
