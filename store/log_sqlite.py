"""Bells over SQLite: a poller that asks `PRAGMA data_version` while somebody follows.

The pragma's answer changes when any other connection has committed, in whichever process, and costs
microseconds on an open connection. One poller serves everybody who follows in this process; on a
change it looks which of the followed sessions have new rows and rings only for those.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

#: Seconds between two looks: a row is seen after half of this on average, at 5 % of a core.
POLL_S = 0.003

_CURSORS = """
SELECT key, last_cursor FROM session WHERE key IN (SELECT value FROM json_each(?))
"""


class SqliteBells:
    """Rings when another connection has committed to a followed session."""

    def __init__(self, path: Path) -> None:
        """Listen to a database file; nothing is opened before somebody follows."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._cursors: dict[str, int] = {}
        self._version: int | None = None
        self._poller: asyncio.Task[None] | None = None

    @property
    def polling(self) -> bool:
        """Whether the poller runs."""
        return self._poller is not None

    @asynccontextmanager
    async def hung(self, session: str) -> AsyncGenerator[asyncio.Event, None]:
        """See `Bells.hung`."""
        bell = asyncio.Event()
        self._bells.setdefault(session, set()).add(bell)
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll(), name="sqlite-bells")
        try:
            yield bell
        finally:
            self._bells[session].discard(bell)
            if not self._bells[session]:
                del self._bells[session]
                self._cursors.pop(session, None)

    async def close(self) -> None:
        """See `Bells.close`."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None
        self._disconnect()

    async def _poll(self) -> None:
        while self._bells:
            try:
                self._look()
            except sqlite3.OperationalError:
                # Busy while another process opens or closes the file, or worse: those who follow
                # find out by reading, and this connection starts anew.
                self._disconnect()
                self._ring(list(self._bells))
            await asyncio.sleep(POLL_S)
        self._poller = None
        self._disconnect()

    def _look(self) -> None:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        followed = json.dumps(list(self._bells))
        rows = self._connection.execute(_CURSORS, (followed,)).fetchall()
        self._version = version
        changed = [key for key, cursor in rows if self._cursors.get(key) != cursor]
        self._cursors.update(rows)
        self._ring(changed)

    def _ring(self, sessions: list[str]) -> None:
        for session in sessions:
            for bell in self._bells[session]:
                bell.set()

    def _disconnect(self) -> None:
        self._version = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
