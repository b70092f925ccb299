"""Where sandbox hosts are reached, and what it takes to use a session there: begin it, stop it."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.commands import HostAddress, StopRecord
from contracts.errors import AwsError, ServiceError
from store.clock import EpochMillis
from store.engine import Database
from store.harness_rows import refuse_going
from store.inserts import insert_or_ignore
from store.session import begin_session
from store.tables import environment, sandbox_host, session, session_stop

_ADDRESS = sa.select(
    sandbox_host.c.host,
    sandbox_host.c.address,
    sandbox_host.c.secret,
    (sandbox_host.c.lease_until_ms > EpochMillis()).label("alive"),
).where(sandbox_host.c.host == sa.bindparam("host_"))
_ANNOUNCE = (
    sa.update(sandbox_host)
    .where(sandbox_host.c.host == sa.bindparam("host_"))
    .values(address=sa.bindparam("url"), secret=sa.bindparam("shown"))
)
_SESSION = sa.select(session.c.running).where(session.c.key == sa.bindparam("key_"))
_GENERATION = sa.select(environment.c.generation).where(
    environment.c.session == sa.bindparam("key_")
)
_STOP_KEY = (
    session_stop.c.session == sa.bindparam("session_"),
    session_stop.c.token == sa.bindparam("token_"),
)
_STOP = sa.select(session_stop).where(*_STOP_KEY)
_STOPPED = sa.update(session_stop).where(*_STOP_KEY).values(done=True)


class Hosts:
    """The ways to the machines that sessions' environments are on."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def announce(self, host: str, url: str, secret: str) -> None:
        """A host, which has beaten, serves at an address from now on.

        Args:
            host: its name.
            url: the base of its endpoint.
            secret: what its callers must show.
        """
        await self._database.update(
            lambda connection: connection.execute(
                _ANNOUNCE, {"host_": host, "url": url, "shown": secret}
            )
        )

    async def address(self, host: str) -> HostAddress | None:
        """Where a host is reached; None when it never said."""

        def work(connection: Connection) -> HostAddress | None:
            row = connection.execute(_ADDRESS, {"host_": host}).first()
            if row is None or row.address is None:
                return None
            return HostAddress(row.host, row.address, row.secret, bool(row.alive))

        return await self._database.read(work)

    async def begin_session(
        self, key: str, *, account: str, harness_id: str, runtime_session_id: str
    ) -> None:
        """See that a session is there, as its first invocation would have made it.

        Args:
            key: the session's key.
            account: the owner of the harness.
            harness_id: the harness.
            runtime_session_id: the caller's name of the session.

        Raises:
            ServiceError: ResourceNotFoundException, the harness goes or is gone.
        """

        def work(connection: Connection) -> None:
            refuse_going(connection, account, harness_id)
            begin_session(
                connection,
                key,
                account=account,
                harness_id=harness_id,
                runtime_session_id=runtime_session_id,
            )

        await self._database.write(work)

    async def knows(self, key: str) -> bool:
        """Whether there is such a session."""
        return await self._database.read(
            lambda connection: connection.execute(_SESSION, {"key_": key}).first() is not None
        )

    async def running(self, key: str) -> str | None:
        """The invocation whose turn runs in a session."""
        return await self._database.read(
            lambda connection: connection.execute(_SESSION, {"key_": key}).scalar()
        )

    async def begin_stop(self, key: str, token: str) -> StopRecord:
        """Keep a request to stop a session, with what it found, unless it was kept before.

        Raises:
            ServiceError: ResourceNotFoundException when there is no such session.
        """

        def work(connection: Connection) -> StopRecord:
            found = connection.execute(_SESSION, {"key_": key}).first()
            if found is None:
                raise ServiceError(AwsError.NOT_FOUND, f"Session {key} does not exist.")
            row = {
                "session": key,
                "token": token,
                "generation": connection.execute(_GENERATION, {"key_": key}).scalar(),
                "invocation_id": found.running,
                "done": False,
                "created_at": datetime.now(UTC),
            }
            insert_or_ignore(connection, session_stop, row)
            asked = {"session_": key, "token_": token}
            return _stop(connection.execute(_STOP, asked).one())

        return await self._database.write(work)

    async def end_stop(self, key: str, token: str) -> None:
        """A stop was carried out."""
        asked = {"session_": key, "token_": token}
        await self._database.update(lambda connection: connection.execute(_STOPPED, asked))


def _stop(row: Row[Any]) -> StopRecord:
    return StopRecord(row.session, row.token, row.generation, row.invocation_id, row.done)
