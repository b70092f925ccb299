"""Carries the pieces of a message in the making to the log, as fast as the log takes them.

Nothing waits for a timer to be sent: the first piece goes at once, and the next row carries what
came while the last one was written. Pieces still here when the message is settled are dropped,
because the settled message supersedes them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from contracts.events import BlockDelta

#: A row holds about this many characters; a longer backlog becomes several rows.
ROW_CHARACTERS = 4096

#: Between two rows, so that tokens which come faster than this share one: a reader cannot tell, and
#: the store writes a fifth as often.
REST_S = 0.005

#: Characters that may wait for a slow store before the provider's stream is made to wait.
BACKLOG_CHARACTERS = 256 * 1024

_JOINED = ("text", "reasoning", "input")


class DeltaWriter:
    """Writes pieces in order, in numbered rows."""

    def __init__(self, write: Callable[[int, Sequence[BlockDelta]], Awaitable[None]]) -> None:
        """Make a writer.

        Args:
            write: appends one row: its index, from 0, and its pieces.
        """
        self._write = write
        self._waiting: list[BlockDelta] = []
        self._size = 0
        self._some = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopped = False

    async def put(self, piece: BlockDelta) -> None:
        """Take a piece; waits only while the store is far behind."""
        await self._room.wait()
        self._size += _size(piece)
        joined = _join(self._waiting[-1], piece) if self._waiting else None
        if joined is None:
            self._waiting.append(piece)
        else:
            self._waiting[-1] = joined
        self._some.set()
        if self._size > BACKLOG_CHARACTERS:
            self._room.clear()

    def stop(self) -> None:
        """Let `run` return after the row that it is writing."""
        self._stopped = True
        self._some.set()

    async def run(self) -> None:
        """Write until stopped.

        Raises:
            StaleAttempt: a later attempt of the step has begun.
        """
        index = 0
        while True:
            await self._some.wait()
            if self._stopped:
                return
            await self._write(index, self._take())
            index += 1
            await asyncio.sleep(REST_S)

    def _take(self) -> list[BlockDelta]:
        taken: list[BlockDelta] = []
        characters = 0
        while self._waiting and (not taken or characters < ROW_CHARACTERS):
            piece = self._waiting.pop(0)
            taken.append(piece)
            characters += _size(piece)
        self._size -= characters
        if not self._waiting:
            self._some.clear()
        self._room.set()
        return taken


def _size(piece: BlockDelta) -> int:
    parts = (piece.text, piece.reasoning, piece.signature, piece.redacted, piece.input)
    return sum(len(part) for part in parts if part)


def _join(last: BlockDelta, piece: BlockDelta) -> BlockDelta | None:
    """Both as one piece, if they continue each other and are not too long for one row."""
    if last.block != piece.block or _size(last) + _size(piece) > ROW_CHARACTERS:
        return None
    for name in _JOINED:
        before, after = getattr(last, name), getattr(piece, name)
        if before is not None and after is not None:
            return last.model_copy(update={name: before + after})
    return None
