"""Database work that a cancelled caller does not break off.

A statement that is cancelled half-way costs its connection, and on SQLite the driver may keep that
connection's transaction, with the lock on the file, until memory is collected. Transactions take
milliseconds, so they finish first; then the caller is cancelled, and nothing of it is still to
come.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Unbroken:
    """Runs work to its end, whoever still waits for it."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._running: set[asyncio.Future[Any]] = set()

    async def run(self, work: Awaitable[T]) -> T:
        """The result of `work`.

        A cancelled caller waits until the work is done; one that is cancelled again does not.
        """
        running = asyncio.ensure_future(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if not running.done():
                await asyncio.wait({running})
            raise

    async def drain(self) -> None:
        """Wait for what still runs."""
        while self._running:
            await asyncio.wait(self._running)
