"""The way out of the sandbox: a loopback port whose connections go on to the host's egress proxy.

The sandbox has a network of its own without any route. What connects to this port is handed, byte
by byte, to a unix socket that the host listens on; the host decides what becomes of it. The relay
decides nothing, so that a command that takes its place gains nothing.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from environments.agentd_loop import READ, WRITE, Loop

#: Where programs find the proxy, by the variables that they read.
PORT = 3128
#: Connections at once; the host's proxy takes fewer.
PAIRS_MAX = 128
#: Bytes of one direction that wait for a slow reader.
PENDING_BYTES = 256 * 1024
CHUNK = 65536


class _Side:
    """One of the two sockets of a connection."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream
        self.pending = bytearray()
        self.ended = False
        self.shut = False


class _Pair:
    """A connection from inside, and the one to the host that it goes on in."""

    def __init__(self, loop: Loop, inner: socket.socket, outer: socket.socket) -> None:
        self._loop = loop
        self._sides = (_Side(inner), _Side(outer))
        self.on_close: Callable[[], None] = lambda: None
        self._watch()

    def _turn(self) -> None:
        one, other = self._sides
        try:
            _move(one, other)
            _move(other, one)
        except OSError:
            self._close()
            return
        if one.shut and other.shut:
            self._close()
        else:
            self._watch()

    def _watch(self) -> None:
        one, other = self._sides
        for side, opposite in ((one, other), (other, one)):
            events = WRITE if side.pending else 0
            if not side.ended and len(opposite.pending) < PENDING_BYTES:
                events |= READ
            if events:
                self._loop.watch(side.stream.fileno(), events, self._turn)
            else:
                self._loop.unwatch(side.stream.fileno())

    def _close(self) -> None:
        for side in self._sides:
            self._loop.unwatch(side.stream.fileno())
            side.stream.close()
        self.on_close()


class Relay:
    """Listens inside the sandbox, and joins each connection with one to the host."""

    def __init__(self, loop: Loop, path: str) -> None:
        """Serve.

        Args:
            loop: of agentd.
            path: the host's socket, in a directory that cannot be written here.
        """
        self._loop = loop
        self._path = path
        self._pairs: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", PORT))
        self._listener.setblocking(False)
        loop.watch(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        try:
            inner, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        outer = socket.socket(socket.AF_UNIX)
        outer.setblocking(False)
        try:
            outer.connect(self._path)
        except OSError:
            # The host does not listen now, or not that fast: a program tries again.
            inner.close()
            outer.close()
            return
        pair = _Pair(self._loop, inner, outer)
        self._pairs.add(pair)
        pair.on_close = lambda: self._closed(pair)
        if len(self._pairs) >= PAIRS_MAX:
            self._loop.unwatch(self._listener.fileno())

    def _closed(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        self._loop.watch(self._listener.fileno(), READ, self._accept)


def _move(source: _Side, sink: _Side) -> None:
    """Carry what can be carried now.

    Raises:
        OSError: the connection broke.
    """
    if not source.ended and len(sink.pending) < PENDING_BYTES:
        with contextlib.suppress(BlockingIOError):
            data = source.stream.recv(CHUNK)
            sink.pending += data
            source.ended = not data
    if sink.pending:
        with contextlib.suppress(BlockingIOError):
            del sink.pending[: sink.stream.send(sink.pending)]
    if source.ended and not sink.pending and not sink.shut:
        sink.shut = True
        sink.stream.shutdown(socket.SHUT_WR)
