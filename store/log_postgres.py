"""Bells over PostgreSQL: one connection per process that LISTENs, and every INSERT's notification.

Whenever it begins to listen it rings everybody, because what was committed before went unheard; so
too after a connection broke and was replaced.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from store.engine import PostgresDatabase
from store.events import CHANNEL, bell

#: Seconds between two tries to listen again; the server takes about a second to restart.
RECONNECT_S = 0.2

_log = logging.getLogger(__name__)


class PostgresBells:
    """Rings when a followed session's log has grown."""

    def __init__(self, database: PostgresDatabase) -> None:
        """Listen to a database; nothing is opened before somebody follows."""
        self._database = database
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def hung(self, session: str) -> AsyncGenerator[asyncio.Event, None]:
        """See `Bells.hung`."""
        name = bell(session)
        rung = asyncio.Event()
        self._bells.setdefault(name, set()).add(rung)
        try:
            if self._listener is None:
                self._listener = asyncio.create_task(self._listen(), name="postgres-bells")
            yield rung
        finally:
            self._bells[name].discard(rung)
            if not self._bells[name]:
                del self._bells[name]

    async def close(self) -> None:
        """See `Bells.close`."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None

    async def _listen(self) -> None:
        while True:
            try:
                async with self._database.dedicated() as connection:
                    await self._hear(connection)
            except Exception as error:
                # Whatever broke, followers find out by reading; listening must outlive it.
                _log.warning("listening to PostgreSQL failed: %s", type(error).__name__)
            await asyncio.sleep(RECONNECT_S)

    async def _hear(self, connection: AsyncConnection) -> None:
        """Listen until the connection breaks."""
        broken = asyncio.Event()

        def gone(_connection: Any) -> None:
            broken.set()

        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_termination_listener(gone)
        await driver.add_listener(CHANNEL, self._heard)
        self._ring_all()
        await broken.wait()

    def _heard(self, _connection: Any, _process: int, _channel: str, name: str) -> None:
        for rung in self._bells.get(name, ()):
            rung.set()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for rung in bells:
                rung.set()
