"""Output that somebody follows while its command runs, and can be read again from its beginning.

Of each stream the first SPOOL_BYTES are kept in a file without a name on the session's volume, of
what comes after that the last TAIL_BYTES in memory. A reader gets the first part as it comes and
the tail when the command has ended; where its offsets jump, bytes are left out.
"""

from __future__ import annotations

import binascii
import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from environments.agentd_loop import Loop, Timer

#: Kept of one stream: as much as the file of a tool call's full output may hold.
SPOOL_BYTES = 64 * 1024**2
#: What is shown of the end of a longer one.
TAIL_BYTES = 32 * 1024
#: Ended commands that can be followed again, and how much all their spools may hold.
ENDED_MAX = 32
ENDED_BYTES = 256 * 1024**2
#: Of one stream in one answer; as base64 both fit the caller's bound of 4 MiB several times.
PIECE_BYTES = 256 * 1024

Waiter = Callable[[dict[str, Any]], None]


class Spool:
    """One output stream."""

    def __init__(self, directory: str, limit: int = SPOOL_BYTES) -> None:
        """Keep nothing yet; the file is made in `directory` when something comes."""
        self.total = 0
        self.kept = 0
        self._directory = directory
        self._limit = limit
        self._fd: int | None = None
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what the command wrote."""
        self.total += len(data)
        room = self._limit - self.kept
        written = self._write(data[:room]) if room > 0 else 0
        if written < len(data):
            # What does not fit, or found the volume full, ends the part that is kept whole.
            self._limit = self.kept
            self._tail += data[written:]
            if len(self._tail) > 2 * TAIL_BYTES:
                del self._tail[:-TAIL_BYTES]

    def read(self, offset: int, *, ended: bool) -> tuple[int, bytes]:
        """What there is from an offset on; the tail only once the command has ended.

        Returns:
            Where the piece starts, which is past `offset` when bytes are left out, and the piece.
        """
        if offset < self.kept:
            assert self._fd is not None
            count = min(PIECE_BYTES, self.kept - offset)
            return offset, os.pread(self._fd, count, offset)
        if not ended:
            return offset, b""
        tail = self._tail[-TAIL_BYTES:]
        start = max(offset, self.total - len(tail))
        return start, bytes(tail[start - (self.total - len(tail)) :])

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self.kept = 0

    def _write(self, data: bytes) -> int:
        written = 0
        # A full volume: what came so far is kept, and the rest counts as left out.
        with contextlib.suppress(OSError):
            if self._fd is None:
                self._fd = _unnamed(self._directory)
            while written < len(data):
                count = os.write(self._fd, data[written:])
                written += count
                self.kept += count
        return written


class _Followed:
    """The two streams of one command, and who waits for more of them."""

    def __init__(self, directory: str) -> None:
        self.stdout = Spool(directory)
        self.stderr = Spool(directory)
        self.ended = False
        self.waiting: list[tuple[dict[str, Any], Waiter, Timer]] = []


class Followed:
    """All commands whose output can be followed."""

    def __init__(self, loop: Loop, directory: str) -> None:
        """Follow nothing yet; spools are made in `directory`."""
        self._loop = loop
        self._directory = directory
        self._commands: OrderedDict[str, _Followed] = OrderedDict()

    def begin(self, id: str) -> None:
        """Keep the output of a command that is about to run."""
        self._commands[id] = _Followed(self._directory)

    def feed(self, id: str, stream: int, data: bytes) -> None:
        """Take output of a command; `stream` is 0 for stdout, 1 for stderr."""
        command = self._commands.get(id)
        if command is not None and not command.ended:
            (command.stderr if stream else command.stdout).feed(data)
            self._wake(command)

    def end(self, id: str, result: dict[str, Any]) -> None:
        """Note that a command has ended, or never began; then its result says why."""
        command = self._commands.get(id)
        if command is None:
            return
        if not command.stdout.total and not command.stderr.total:
            command.stdout.feed(result["stdout"].encode())
            command.stderr.feed(result["stderr"].encode())
        command.ended = True
        self._commands.move_to_end(id)
        self._wake(command)
        self._make_room()

    def follow(self, request: dict[str, Any], waiter: Waiter) -> bool:
        """Answer with output past the given offsets, at the latest after `wait_s` with none.

        Returns:
            False when no output of this id is kept.
        """
        command = self._commands.get(request["id"])
        if command is None:
            return False
        answer = _piece(command, request)
        if answer is not None:
            waiter(answer)
            return True

        def give_up() -> None:
            command.waiting = [each for each in command.waiting if each[1] is not waiter]
            waiter(_answer(request["stdout_from"], b"", request["stderr_from"], b"", ended=False))

        timer = self._loop.later(request["wait_s"], give_up)
        command.waiting.append((request, waiter, timer))
        return True

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter whose caller is gone."""
        for command in self._commands.values():
            for each in [each for each in command.waiting if each[1] == waiter]:
                each[2].cancel()
                command.waiting.remove(each)

    def _wake(self, command: _Followed) -> None:
        waiting, command.waiting = command.waiting, []
        for each in waiting:
            request, waiter, timer = each
            answer = _piece(command, request)
            if answer is None:
                command.waiting.append(each)
            else:
                timer.cancel()
                waiter(answer)

    def _make_room(self) -> None:
        ended = [id for id, command in self._commands.items() if command.ended]
        size = sum(self._commands[id].stdout.kept + self._commands[id].stderr.kept for id in ended)
        # The newest stays, however much it holds: its caller has not read it yet.
        for id in ended[:-1]:
            if len(ended) <= ENDED_MAX and size <= ENDED_BYTES:
                return
            command = self._commands.pop(id)
            ended.remove(id)
            size -= command.stdout.kept + command.stderr.kept
            command.stdout.close()
            command.stderr.close()


def _piece(command: _Followed, request: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to a request; None when there is nothing to tell yet."""
    out_at, out = command.stdout.read(request["stdout_from"], ended=command.ended)
    err_at, err = command.stderr.read(request["stderr_from"], ended=command.ended)
    done = (
        command.ended
        and out_at + len(out) >= command.stdout.total
        and err_at + len(err) >= command.stderr.total
    )
    if not (out or err or done):
        return None
    return _answer(out_at, out, err_at, err, ended=done)


def _answer(out_at: int, out: bytes, err_at: int, err: bytes, *, ended: bool) -> dict[str, Any]:
    return {
        "ok": True,
        "result": {
            "stdout_at": out_at,
            "stdout": binascii.b2a_base64(out, newline=False).decode(),
            "stderr_at": err_at,
            "stderr": binascii.b2a_base64(err, newline=False).decode(),
            "ended": ended,
        },
    }


def _unnamed(directory: str) -> int:
    """A new file that has no name, and goes with its descriptor."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Network file systems have no such files.
        path = os.path.join(directory, f".output-{os.urandom(8).hex()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd
