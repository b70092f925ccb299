"""The host's side of `agentd_lanes`: connections of an environment that come in one stream.

For environments that cannot reach a socket of the host's. Each connection goes on to the proxy's
socket of that environment, as a relay inside would have brought it, so that the proxy and its rules
are the same for every kind. What comes from inside is not trusted: numbers, lengths and windows are
checked, and a stream that breaks the protocol is closed with all that it carries.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from contracts.errors import EnvironmentRefused, EnvironmentUnavailable
from environments import sockets
from environments.agentd_lanes import (
    CREDIT,
    FRAME_BYTES,
    HEAD,
    LANES_MAX,
    TELL_BYTES,
    WINDOW_BYTES,
)
from environments.channel import Streams

log = logging.getLogger(__name__)

#: Seconds between asks whether the other is there, which also keep proxies on the way awake.
PING_S = 20.0
#: Seconds without any frame after which a stream is taken for broken.
SILENCE_S = 60.0
#: Seconds until a stream that broke is opened again: at first, and at most.
AGAIN_S, AGAIN_MAX_S = 0.2, 10.0
#: Seconds that the first stream of a new environment may take.
FIRST_S = 15.0

Open = Callable[[], Awaitable[Streams]]


@dataclass
class _Kept:
    """An environment whose stream is kept open."""

    open: Open
    path: Path
    attached: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class EgressLanes:
    """Keeps a stream open to each environment, and opens one that broke again."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._kept: dict[str, _Kept] = {}

    async def keep(self, name: str, open: Open, path: Path) -> None:
        """Carry an environment's connections from now on.

        Args:
            name: the environment's, for the log.
            open: asks its agentd for the stream, by `AgentChannel.egress`.
            path: the proxy's socket of this environment.
        """
        await self.drop(name)
        kept = self._kept[name] = _Kept(open, path)
        kept.task = asyncio.create_task(self._run(name, kept))

    async def first(self, name: str) -> None:
        """Wait until an environment's stream is open.

        Raises:
            EnvironmentUnavailable: it does not come.
        """
        try:
            async with asyncio.timeout(FIRST_S):
                await self._kept[name].attached.wait()
        except TimeoutError:
            raise EnvironmentUnavailable("its way to the network could not be opened") from None

    async def drop(self, name: str) -> None:
        """Carry an environment's connections no longer. Idempotent."""
        kept = self._kept.pop(name, None)
        if kept is not None and kept.task is not None:
            kept.task.cancel()
            await asyncio.gather(kept.task, return_exceptions=True)

    async def drop_all(self) -> None:
        """Let go of every environment; the next host process opens streams anew."""
        for name in list(self._kept):
            await self.drop(name)

    async def _run(self, name: str, kept: _Kept) -> None:
        pause = AGAIN_S
        while True:
            try:
                streams = await kept.open()
                kept.attached.set()
                pause = AGAIN_S
                await _Stream(streams, kept.path).serve()
            except (
                OSError,
                EOFError,
                TimeoutError,
                EnvironmentRefused,
                EnvironmentUnavailable,
            ) as error:
                log.info("egress %s: its stream is opened again: %s", name, error)
            except Exception:
                # Whatever it was, the environment must not be left without its way out.
                log.exception("egress %s: its stream failed, and is opened again", name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_MAX_S)


class _Stream:
    """One stream, with the connections in it."""

    def __init__(self, streams: Streams, path: Path) -> None:
        self._reader, self._writer = streams
        self._path = path
        self._lanes: dict[int, _Lane] = {}
        self._last = 0
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        """Carry until the stream breaks.

        Raises:
            OSError, EOFError, TimeoutError: it broke, or broke the protocol.
        """
        pinging = asyncio.create_task(self._ping())
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    head = await self._reader.readexactly(HEAD.size)
                    kind, number, length = HEAD.unpack(head)
                    if length > FRAME_BYTES:
                        raise ConnectionError("a frame is too long")
                    payload = await self._reader.readexactly(length)
                self._take(kind, number, payload)
        finally:
            self._writer.transport.abort()
            tasks = [pinging, *(lane.task for lane in self._lanes.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == b"o":
            if number <= self._last or len(self._lanes) >= 2 * LANES_MAX:
                raise ConnectionError("a connection was announced that cannot be")
            self._last = number
            self._lanes[number] = _Lane(self, number, self._path)
        elif kind in (b"d", b"e", b"w", b"c"):
            # One that is not known has been closed here, and the other side will hear of it.
            lane = self._lanes.get(number)
            if lane is not None:
                lane.take(kind, payload)
        elif kind != b"p":
            raise ConnectionError("a frame is of no known kind")

    async def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        async with self._sending:
            self._writer.write(HEAD.pack(kind, number, len(payload)) + payload)
            await self._writer.drain()

    def left(self, number: int) -> None:
        self._lanes.pop(number, None)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            with contextlib.suppress(OSError):
                await self.send(b"p", 0)


class _Lane:
    """One connection, from the stream to the proxy's socket."""

    def __init__(self, stream: _Stream, number: int, path: Path) -> None:
        self._stream = stream
        self._number = number
        self._path = path
        self._received: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting = 0
        self._ended = False
        self._credit = WINDOW_BYTES
        self._may_send = asyncio.Event()
        self._may_send.set()
        self.task = asyncio.create_task(self._run())

    def take(self, kind: bytes, payload: bytes) -> None:
        """Take a frame.

        Raises:
            ConnectionError: the other side may not send it.
        """
        if kind == b"c":
            self.task.cancel()
        elif kind == b"w":
            if len(payload) != CREDIT.size:
                raise ConnectionError("a window is no number")
            self._credit += CREDIT.unpack(payload)[0]
            if self._credit > WINDOW_BYTES:
                raise ConnectionError("a window is larger than it may be")
            self._may_send.set()
        else:
            self._waiting += len(payload)
            if self._ended or self._waiting > WINDOW_BYTES or (kind == b"d") is not bool(payload):
                raise ConnectionError("more was sent than may be")
            self._ended = kind == b"e"
            self._received.put_nowait(payload)

    async def _run(self) -> None:
        try:
            reader, writer = await sockets.connect(self._path)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._up(writer))
                    both.create_task(self._down(reader))
            finally:
                writer.transport.abort()
        except* OSError:
            # The proxy has closed it, or is not there now: a program tries again.
            pass
        finally:
            self._stream.left(self._number)
        # Not when this is cancelled: the other side has ended it, or the stream is broken.
        with contextlib.suppress(OSError):
            await self._stream.send(b"c", self._number)

    async def _up(self, writer: asyncio.StreamWriter) -> None:
        taken = 0
        # A proxy that takes no more may still have an answer on its way.
        with contextlib.suppress(OSError):
            while data := await self._received.get():
                writer.write(data)
                await writer.drain()
                self._waiting -= len(data)
                taken += len(data)
                if taken >= TELL_BYTES:
                    await self._stream.send(b"w", self._number, CREDIT.pack(taken))
                    taken = 0
            writer.write_eof()

    async def _down(self, reader: asyncio.StreamReader) -> None:
        while True:
            await self._may_send.wait()
            data = await reader.read(min(FRAME_BYTES, self._credit))
            if not data:
                await self._stream.send(b"e", self._number)
                return
            self._credit -= len(data)
            if self._credit == 0:
                self._may_send.clear()
            await self._stream.send(b"d", self._number, data)
