"""The stream that carries an environment's connections, when the other side is hostile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts.errors import EnvironmentUnavailable
from environments import egress_lanes, sockets
from environments.agentd_lanes import CREDIT, FRAME_BYTES, HEAD, LANES_MAX, WINDOW_BYTES
from environments.channel import Streams
from environments.egress_lanes import EgressLanes


class Inside:
    """Stands for an environment; what it sends is up to the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.streams: asyncio.Queue[Streams] = asyncio.Queue()

    async def open(self) -> Streams:
        return await sockets.connect(self.path)

    async def take(self) -> Streams:
        async with asyncio.timeout(10):
            return await self.streams.get()


def frame(kind: bytes, number: int, payload: bytes = b"", length: int | None = None) -> bytes:
    return HEAD.pack(kind, number, len(payload) if length is None else length) + payload


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        # With what was not read any more, the connection is reset.
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(65536):
                pass
    return True


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    made = Inside(tmp_path / "agentd")
    server = await asyncio.start_unix_server(
        lambda reader, writer: made.streams.put_nowait((reader, writer)), made.path
    )
    yield made
    server.close()
    while not made.streams.empty():
        made.streams.get_nowait()[1].transport.abort()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[list[Streams]]:
    """Connections that have come to the proxy's socket; nobody reads them."""
    came: list[Streams] = []
    server = await asyncio.start_unix_server(
        lambda reader, writer: came.append((reader, writer)), tmp_path / "proxy"
    )
    yield came
    server.close()
    for _, writer in came:
        writer.transport.abort()


@pytest.fixture
async def lanes(inside: Inside, tmp_path: Path) -> AsyncIterator[EgressLanes]:
    made = EgressLanes()
    await made.keep("s", inside.open, tmp_path / "proxy")
    await made.first("s")
    yield made
    await made.drop_all()


@pytest.mark.parametrize(
    "said",
    [
        frame(b"o", 0),
        frame(b"o", 1) + frame(b"o", 1),
        b"".join(frame(b"o", number) for number in range(1, 2 * LANES_MAX + 2)),
        frame(b"x", 1),
        frame(b"d", 1, length=FRAME_BYTES + 1),
        frame(b"o", 1) + frame(b"d", 1),
        frame(b"o", 1) + frame(b"e", 1) + frame(b"d", 1, b"more"),
        frame(b"o", 1) + frame(b"w", 1, CREDIT.pack(1)),
        frame(b"o", 1) + frame(b"w", 1, b"1"),
        frame(b"o", 1) + frame(b"d", 1, bytes(FRAME_BYTES)) * (8 * WINDOW_BYTES // FRAME_BYTES),
    ],
    ids=[
        *("number 0", "number again", "too many", "unknown kind", "too long", "nothing"),
        *("after the end", "window too large", "window no number", "beyond its window"),
    ],
)
async def test_a_stream_that_breaks_the_protocol_is_closed_and_opened_anew(
    lanes: EgressLanes, inside: Inside, proxy: list[Streams], said: bytes
) -> None:
    reader, writer = await inside.take()
    writer.write(said)
    assert await ended(reader)
    writer.transport.abort()
    again = await inside.take()
    again[1].write(frame(b"o", 1))
    await _until(lambda: any(not each[0].at_eof() for each in proxy))
    again[1].transport.abort()


async def test_a_stream_that_falls_silent_is_opened_anew(
    lanes: EgressLanes, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress_lanes, "PING_S", 0.05)
    monkeypatch.setattr(egress_lanes, "SILENCE_S", 0.3)
    # The first began with the longer times.
    (await inside.take())[1].transport.abort()
    reader, writer = await inside.take()
    assert (await reader.readexactly(HEAD.size)) == frame(b"p", 0)
    assert await ended(reader)
    writer.transport.abort()
    (await inside.take())[1].transport.abort()


async def test_nothing_is_sent_beyond_the_window(
    lanes: EgressLanes, inside: Inside, proxy: list[Streams]
) -> None:
    reader, writer = await inside.take()
    writer.write(frame(b"o", 7))
    await _until(lambda: bool(proxy))
    proxy[0][1].write(bytes(3 * WINDOW_BYTES))
    assert await _received(reader, WINDOW_BYTES) == WINDOW_BYTES
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.readexactly(1)
    writer.write(frame(b"w", 7, CREDIT.pack(1000)))
    assert await _received(reader, 1000) == 1000
    writer.transport.abort()


async def test_an_environment_whose_stream_does_not_come_is_not_given_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(egress_lanes, "FIRST_S", 0.3)
    made = EgressLanes()
    await made.keep("s", lambda: sockets.connect(tmp_path / "nowhere"), tmp_path / "proxy")
    with pytest.raises(EnvironmentUnavailable, match="way to the network"):
        await made.first("s")
    await made.drop_all()


async def _received(reader: asyncio.StreamReader, at_least: int) -> int:
    total = 0
    async with asyncio.timeout(10):
        while total < at_least:
            kind, number, length = HEAD.unpack(await reader.readexactly(HEAD.size))
            assert (kind, number) == (b"d", 7)
            total += len(await reader.readexactly(length))
    return total


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
