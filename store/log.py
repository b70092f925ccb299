"""The event log as those who read it see it.

`follow` never misses a row: it clears its bell, reads, and waits only when there was nothing to
read; a commit after the read rings the bell. It never repeats one: cursors ascend in commit order,
and it asks for those above the last it gave.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from contracts.events import Event
from store.bounds import MAX_PAGE_EVENTS
from store.engine import Database
from store.events import read_events

#: Rows that `read` and `follow` return at once unless told otherwise.
PAGE_EVENTS = 500
#: Seconds of silence after which `follow` lets its reader check whether anybody still listens.
#: Proxies commonly cut a silent connection after 30 to 60.
HEARTBEAT_S = 5.0


class EventLog(Protocol):
    """The logs of all sessions."""

    async def read(
        self,
        session: str,
        *,
        after: int,
        invocation_id: str | None = None,
        limit: int = PAGE_EVENTS,
    ) -> tuple[Event, ...]:
        """The rows that come next.

        Args:
            session: the session's key.
            after: the cursor of the last row that the reader has; 0 begins.
            invocation_id: leaves out rows of other invocations.
            limit: how many at most, up to `MAX_PAGE_EVENTS`.

        Returns:
            The rows, in order; none when there are no more yet.
        """
        ...

    def follow(
        self,
        session: str,
        *,
        after: int,
        invocation_id: str | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> AsyncGenerator[tuple[Event, ...], None]:
        """Rows as they are committed, by any process, without end.

        Args:
            session: the session's key; it need not exist yet.
            after: the cursor of the last row that the reader has; 0 begins.
            invocation_id: leaves out rows of other invocations.
            heartbeat_s: after so many seconds of silence an empty batch comes.

        Returns:
            An asynchronous generator of batches, each in order. Whoever stops before its end closes
            it, as `contextlib.aclosing` does.
        """
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class Bells(Protocol):
    """What wakes those who follow."""

    def hung(self, session: str) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set after every commit to the session, spurious ones allowed.

        On entry, commits from now on are heard.
        """
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class DatabaseLog:
    """An `EventLog` over a database and its bells."""

    def __init__(self, database: Database, bells: Bells) -> None:
        """Read from `database`, wake by `bells`."""
        self._database = database
        self._bells = bells

    async def read(
        self,
        session: str,
        *,
        after: int,
        invocation_id: str | None = None,
        limit: int = PAGE_EVENTS,
    ) -> tuple[Event, ...]:
        """See `EventLog.read`."""
        bounded = min(limit, MAX_PAGE_EVENTS)
        return await self._database.read(
            lambda connection: read_events(connection, session, after, invocation_id, bounded)
        )

    async def follow(
        self,
        session: str,
        *,
        after: int,
        invocation_id: str | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> AsyncGenerator[tuple[Event, ...], None]:
        """See `EventLog.follow`."""
        async with self._bells.hung(session) as bell:
            clock = asyncio.get_running_loop().time
            heartbeat_at = clock() + heartbeat_s
            while True:
                bell.clear()
                batch = await self.read(session, after=after, invocation_id=invocation_id)
                if batch or clock() >= heartbeat_at:
                    after = batch[-1].cursor if batch else after
                    yield batch
                    heartbeat_at = clock() + heartbeat_s
                    continue
                # Rows of other invocations ring too, and are no reason to stay silent for longer.
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(heartbeat_at):
                        await bell.wait()

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self._bells.close()
