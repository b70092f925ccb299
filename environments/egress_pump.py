"""Carrying bytes between two connections within bounds of size and time."""

import asyncio
import contextlib
import time

Half = tuple[asyncio.StreamReader, asyncio.StreamWriter]

#: Of one connection, both directions together: a large image or package, not an endless stream.
BYTES_MAX = 8 * 1024**3
#: Seconds of one connection.
LIFE_S = 3600.0
#: Seconds in which neither side says anything.
IDLE_S = 300.0
CHUNK = 65536
#: For `request_bytes`.
TUNNEL = -1


class TooMuch(Exception):
    """A connection has used what one may use."""


class Meter:
    """What one connection has used."""

    def __init__(self) -> None:
        """Begin."""
        self.bytes = 0
        self.moved = time.monotonic()

    def count(self, size: int) -> None:
        """Add what was carried.

        Raises:
            TooMuch: it is more than a connection may carry.
        """
        self.bytes += size
        self.moved = time.monotonic()
        if self.bytes > BYTES_MAX:
            raise TooMuch


async def pump(
    to_server: Half, to_client: Half, meter: Meter, *, request_bytes: int | None = TUNNEL
) -> None:
    """Carry both directions until the server has said everything.

    Args:
        to_server: the client's reader and the server's writer.
        to_client: the server's reader and the client's writer.
        meter: counts them together.
        request_bytes: how many bytes the client may send; None for as many as it likes,
            TUNNEL when the client may say the end too.

    Raises:
        TooMuch: it has used what a connection may use.
        OSError: an end broke.
        TimeoutError: it lasted too long, or nothing came any more.
    """
    tunnel = request_bytes == TUNNEL
    limit = None if tunnel else request_bytes
    async with asyncio.timeout(LIFE_S):
        sending = asyncio.create_task(_carry(*to_server, meter, limit, end=tunnel))
        try:
            await _carry(*to_client, meter, None, end=True)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, TooMuch, TimeoutError):
                await sending


async def _carry(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    meter: Meter,
    limit: int | None,
    *,
    end: bool,
) -> None:
    left = limit
    while left is None or left > 0:
        data = await _read(source, CHUNK if left is None else min(CHUNK, left), meter)
        if not data:
            break
        meter.count(len(data))
        left = None if left is None else left - len(data)
        sink.write(data)
        await sink.drain()
    if end and sink.can_write_eof():
        sink.write_eof()


async def _read(source: asyncio.StreamReader, size: int, meter: Meter) -> bytes:
    """Read; silence counts only while the other direction is silent too."""
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                return await source.read(size)
        except TimeoutError:
            if time.monotonic() - meter.moved >= IDLE_S:
                raise
