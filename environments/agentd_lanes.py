"""The way out of an environment that has no socket of the host's: connections in one stream.

The host opens the stream, by the request `egress`; commands cannot, because they do not reach
agentd's socket. A program connects to the same loopback port as elsewhere, and what it says goes to
the host in frames: one byte of kind, four of a connection's number, four of length, the payload.
Numbers are in network order.

    o   a program has connected; the number is new and greater than those before (from here)
    d   bytes, FRAME_BYTES at most (either way)
    e   this side of the connection has said everything (either way)
    c   the connection is over (either way)
    w   so many more bytes may be sent, four bytes (either way)
    p   whether the other is there (from the host); the answer is the same frame

A side may send WINDOW_BYTES in each connection, and more when it is told so: a reader that is slow
holds up its own connection and no other. While no host has the stream, connections are closed as
soon as they are made, and a program tries again.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from environments.agentd_loop import READ, WRITE
from environments.agentd_relay import PORT

if TYPE_CHECKING:
    from environments.agentd_loop import Loop

HEAD = struct.Struct("!cII")
CREDIT = struct.Struct("!I")
#: One frame's payload.
FRAME_BYTES = 16 * 1024
#: Of one direction of one connection, sent and not yet taken.
WINDOW_BYTES = 256 * 1024
#: What was taken is told when it is so much.
TELL_BYTES = WINDOW_BYTES // 4
#: Connections at once, as many as the host's proxy serves.
LANES_MAX = 64
#: What waits to be sent to the host; beyond it, programs wait.
OUT_BYTES = 256 * 1024
CHUNK = 65536
#: The first number that does not fit in a frame.
NUMBERS = 2**32


class _Lane:
    """One connection of a program."""

    def __init__(self, lanes: Lanes, number: int, stream: socket.socket) -> None:
        stream.setblocking(False)
        self._lanes = lanes
        self._number = number
        self._stream = stream
        self._pending = bytearray()
        self._taken = 0
        self.credit = WINDOW_BYTES
        self._ended = self._host_ended = self._shut = False

    def watch(self) -> None:
        events = WRITE if self._pending else 0
        if not self._ended and self.credit > 0 and self._lanes.room:
            events |= READ
        if events:
            self._lanes.loop.watch(self._stream.fileno(), events, self._turn)
        else:
            self._lanes.loop.unwatch(self._stream.fileno())

    def receive(self, kind: bytes, payload: bytes) -> None:
        """Take a frame of the host's."""
        if kind == b"d":
            self._pending += payload
        elif kind == b"e":
            self._host_ended = True
        elif kind == b"w":
            self.credit += CREDIT.unpack(payload)[0]
        self._turn()

    def close(self) -> None:
        self._lanes.loop.unwatch(self._stream.fileno())
        self._stream.close()

    def _turn(self) -> None:
        try:
            self._read()
            self._write()
        except OSError:
            self._lanes.over(self._number)
            return
        if self._ended and self._shut:
            self._lanes.over(self._number)
        else:
            self.watch()

    def _read(self) -> None:
        if self._ended or self.credit <= 0 or not self._lanes.room:
            return
        with contextlib.suppress(BlockingIOError):
            data = self._stream.recv(min(FRAME_BYTES, self.credit))
            self._ended = not data
            self.credit -= len(data)
            self._lanes.send(b"d" if data else b"e", self._number, data)

    def _write(self) -> None:
        if self._pending:
            with contextlib.suppress(BlockingIOError):
                sent = self._stream.send(self._pending)
                del self._pending[:sent]
                self._taken += sent
        if self._taken >= TELL_BYTES:
            self._lanes.send(b"w", self._number, CREDIT.pack(self._taken))
            self._taken = 0
        if self._host_ended and not self._pending and not self._shut:
            self._shut = True
            self._stream.shutdown(socket.SHUT_WR)


class Lanes:
    """Listens inside the environment, and carries what connects to the host."""

    def __init__(self, loop: Loop) -> None:
        """Serve; without a stream every connection is closed."""
        self.loop = loop
        self._stream: socket.socket | None = None
        self._received = bytearray()
        self._unsent = bytearray()
        self._lanes: dict[int, _Lane] = {}
        self._number = 0
        self._listener = socket.create_server(("127.0.0.1", PORT))
        self._listener.setblocking(False)
        loop.watch(self._listener.fileno(), READ, self._accept)

    @property
    def room(self) -> bool:
        """Whether programs may say more now."""
        return len(self._unsent) < OUT_BYTES

    def attach(self, stream: socket.socket) -> None:
        """Carry connections by a stream that has been answered; an earlier one is dropped."""
        self._detach()
        self._stream = stream
        self._watch()

    def send(self, kind: bytes, number: int, payload: bytes) -> None:
        """Have a frame sent."""
        self._unsent += HEAD.pack(kind, number, len(payload)) + payload
        self._watch()

    def over(self, number: int) -> None:
        """End a connection and tell the host."""
        lane = self._lanes.pop(number, None)
        if lane is not None:
            lane.close()
            self.send(b"c", number, b"")
            self.loop.watch(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        try:
            program, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        if self._stream is None or self._number + 1 >= NUMBERS:
            program.close()
            return
        self._number += 1
        lane = self._lanes[self._number] = _Lane(self, self._number, program)
        self.send(b"o", self._number, b"")
        lane.watch()
        if len(self._lanes) >= LANES_MAX:
            self.loop.unwatch(self._listener.fileno())

    def _watch(self) -> None:
        if self._stream is not None:
            events = READ | WRITE if self._unsent else READ
            self.loop.watch(self._stream.fileno(), events, self._turn)

    def _turn(self) -> None:
        assert self._stream is not None
        try:
            self._read(self._stream)
            self._write(self._stream)
        except (OSError, ValueError, struct.error):
            # Gone, or it speaks another language: the host comes again.
            self._detach()

    def _read(self, stream: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            data = stream.recv(CHUNK)
            if not data:
                raise ConnectionError
            self._received += data
        while len(self._received) >= HEAD.size:
            kind, number, length = HEAD.unpack_from(self._received)
            if length > FRAME_BYTES:
                raise ValueError("a frame is too long")
            if len(self._received) < HEAD.size + length:
                break
            payload = bytes(self._received[HEAD.size : HEAD.size + length])
            del self._received[: HEAD.size + length]
            self._take(kind, number, payload)

    def _take(self, kind: bytes, number: int, payload: bytes) -> None:
        lane = self._lanes.get(number)
        if kind == b"p":
            self.send(b"p", 0, b"")
        elif lane is not None and kind == b"c":
            del self._lanes[number]
            lane.close()
            self.loop.watch(self._listener.fileno(), READ, self._accept)
        elif lane is not None:
            lane.receive(kind, payload)

    def _write(self, stream: socket.socket) -> None:
        had_room = self.room
        if self._unsent:
            with contextlib.suppress(BlockingIOError):
                del self._unsent[: stream.send(self._unsent[:CHUNK])]
        self._watch()
        if self.room and not had_room:
            for lane in list(self._lanes.values()):
                lane.watch()

    def _detach(self) -> None:
        """Let go of the stream, and of the connections that it carried."""
        if self._stream is not None:
            self.loop.unwatch(self._stream.fileno())
            self._stream.close()
            self._stream = None
        self._received, self._unsent = bytearray(), bytearray()
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()
        self.loop.watch(self._listener.fileno(), READ, self._accept)
