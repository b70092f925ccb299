"""Commands beside a session's turns: each is kept before it runs, so that it runs at most once."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.commands import CommandRecord, CommandState, NewCommand
from contracts.environment import CommandResult
from contracts.errors import AwsError, Reason, ServiceError, invalid
from store.engine import Database
from store.inserts import insert_or_ignore
from store.tables import command, session

_KEY = (command.c.session == sa.bindparam("session_"), command.c.id == sa.bindparam("id_"))
_GET = sa.select(command).where(*_KEY)
_START = (
    sa.update(command)
    .where(*_KEY, command.c.state == CommandState.NEW.value)
    .values(state=CommandState.STARTED.value, boot_id=sa.bindparam("boot"))
)
_TAKE_BACK = (
    sa.update(command)
    .where(*_KEY, command.c.state == CommandState.STARTED.value)
    .values(state=CommandState.NEW.value, boot_id=None)
)
_FINISH = (
    sa.update(command)
    .where(*_KEY, command.c.state != CommandState.DONE.value)
    .values(
        state=CommandState.DONE.value,
        result=sa.bindparam("outcome", type_=command.c.result.type),
        ended_at=sa.bindparam("at", type_=command.c.ended_at.type),
    )
)
_UNFINISHED = (
    sa.select(command)
    .join(session, session.c.key == command.c.session)
    .where(session.c.host == sa.bindparam("host_"), command.c.state == CommandState.STARTED.value)
)


class Commands:
    """The commands of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def admit(self, session_key: str, new: NewCommand) -> CommandRecord:
        """Keep a command before anybody runs it.

        Args:
            session_key: the session, which is there.
            new: the command.

        Returns:
            The command; when it was admitted before, as it stands now.

        Raises:
            ServiceError: ValidationException, with reason IdempotentParameterMismatchException when
                the id was used for another request.
        """
        row = {
            **asdict(new),
            "session": session_key,
            "state": CommandState.NEW.value,
            "created_at": datetime.now(UTC),
        }

        def work(connection: Connection) -> Row[Any]:
            insert_or_ignore(connection, command, row)
            return _find(connection, session_key, new.id)

        kept = await self._database.write(work)
        if kept.request_digest != new.request_digest:
            raise invalid(
                "x-everloop-invocation-id",
                f"{new.id} was used before for another command; use a new id",
                reason=Reason.IDEMPOTENT_PARAMETER_MISMATCH,
            )
        return _record(kept)

    async def get(self, session_key: str, id: str) -> CommandRecord:
        """A command as it stands.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return _record(
            await self._database.read(lambda connection: _find(connection, session_key, id))
        )

    async def start(self, session_key: str, id: str, boot_id: str) -> CommandRecord:
        """Note that a command is about to be sent to an environment, unless it was before.

        Returns:
            The command; its boot id is the one that it was first sent to.
        """
        key = {"session_": session_key, "id_": id}

        def work(connection: Connection) -> CommandRecord:
            connection.execute(_START, {**key, "boot": boot_id})
            return _record(_find(connection, session_key, id))

        return await self._database.write(work)

    async def take_back(self, session_key: str, id: str) -> None:
        """Note that the environment did not take a command, so that it may be sent again."""
        key = {"session_": session_key, "id_": id}
        await self._database.update(lambda connection: connection.execute(_TAKE_BACK, key))

    async def finish(self, session_key: str, id: str, result: CommandResult) -> CommandResult:
        """Keep what came of a command. The first result stays.

        Returns:
            The result that is kept.
        """
        key = {"session_": session_key, "id_": id}

        def work(connection: Connection) -> CommandResult:
            connection.execute(_FINISH, {**key, "outcome": result, "at": datetime.now(UTC)})
            return _find(connection, session_key, id).result

        return await self._database.write(work)

    async def unfinished(self, host: str) -> tuple[CommandRecord, ...]:
        """The commands that were sent to environments of a host and have no result."""

        def work(connection: Connection) -> tuple[CommandRecord, ...]:
            return tuple(_record(row) for row in connection.execute(_UNFINISHED, {"host_": host}))

        return await self._database.read(work)


def _find(connection: Connection, session_key: str, id: str) -> Row[Any]:
    row = connection.execute(_GET, {"session_": session_key, "id_": id}).first()
    if row is None:
        raise ServiceError(AwsError.NOT_FOUND, f"Session {session_key} has no command {id}.")
    return row


def _record(row: Row[Any]) -> CommandRecord:
    return CommandRecord(
        session=row.session,
        id=row.id,
        command=row.command,
        timeout_s=row.timeout_s,
        config_digest=row.config_digest,
        state=CommandState(row.state),
        boot_id=row.boot_id,
        result=row.result,
    )
