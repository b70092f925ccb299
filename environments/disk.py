"""What sessions' files take, where the disk itself does not bound them: measured, again and again.

A session beyond its limit may still run commands, which can remove files and write nothing: their
file-size limit is zero. A command under way is ended, and an environment in which only the
background writes is stopped. So a session can go over its limit by what it writes between two
looks.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Seconds between looks at a session that is used, and at one that is not.
USED_S, UNUSED_S = 1.0, 5.0
#: Times what the last look took, so that looking takes a twentieth of a processor at most.
PAUSES = 20

#: Goes before a command's own text, on the same line, so that line numbers in errors stay.
WRITE_NOTHING = "ulimit -f 0; "


@dataclass
class _Usage:
    bytes: int = 0
    due: float = 0.0


class DiskWatch:
    """What each session's files take."""

    def __init__(self, measure: Callable[[str], int | None], limit: int) -> None:
        """Know nothing yet.

        Args:
            measure: gives a session's bytes; None when they are bounded otherwise. Blocks.
            limit: bytes that a session may take.
        """
        self._measure = measure
        self._limit = limit
        self._usage: dict[str, _Usage] = {}

    def due(self, session: str) -> bool:
        """Whether it is time to look."""
        return self._usage.setdefault(session, _Usage()).due <= time.monotonic()

    async def look(self, session: str, *, used: bool) -> bool:
        """Measure now.

        Args:
            session: whose files.
            used: whether calls are under way in it.

        Returns:
            Whether they take more than they may.
        """
        begun = time.monotonic()
        found = await asyncio.to_thread(self._measure, session)
        ended = time.monotonic()
        pause = max(USED_S if used else UNUSED_S, PAUSES * (ended - begun))
        self._usage[session] = _Usage(found or 0, ended + pause)
        return self.full(session)

    def full(self, session: str) -> bool:
        """Whether the last look found too much."""
        usage = self._usage.get(session)
        return usage is not None and usage.bytes > self._limit

    def forget(self, session: str) -> None:
        """Its environment does not run."""
        self._usage.pop(session, None)

    def note(self, session: str) -> str | None:
        """What a model is told of a session that is full; None when it is not."""
        if not self.full(session):
            return None
        mib = 1024**2
        used = self._usage[session].bytes
        return (
            f"The session's files take {used // mib} MiB, and may take {self._limit // mib} MiB. "
            "Until files are removed with shell (rm), nothing can be written."
        )
