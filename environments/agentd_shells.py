"""Interactive shells on pseudo-terminals, which outlive the connections that show them.

Once a request to attach is answered, its connection carries frames: one byte of kind, four of
length, the payload. Towards the shell: `i` input, `r` columns and rows (two 16-bit numbers, as all
numbers in network order), `k` end it. From it: `o` output, `x` its exit status (32 bits) as the
last frame, `d` when another connection has taken it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from environments.agentd_jobs import Limits
from environments.agentd_loop import READ, WRITE

if TYPE_CHECKING:
    from environments.agentd_loop import Loop, Timer

#: Shells that live at once; AWS's own number.
SHELLS_MAX = 10
#: Seconds that a shell lives without a connection, and that an exit status is kept for one.
DETACHED_S = 300.0
#: Output that a new connection is shown again; AWS's own number.
SCROLLBACK_BYTES = 256 * 1024
#: Output that waits for a slow connection; beyond it, the shell waits.
BACKLOG_BYTES = 256 * 1024
#: One frame of input.
FRAME_BYTES = 64 * 1024
#: Seconds in which output is still collected once the shell has ended.
DRAIN_S = 0.25
#: Reads of what is left after that; a terminal holds 4 KiB.
LAST_READS = 16
#: Seconds between HUP and KILL.
HANGUP_S = 2.0
#: Input that the terminal has not taken; a program that does not read stops its typist here.
PENDING_INPUT_BYTES = 64 * 1024
CHUNK = 65536

_HEAD = struct.Struct("!cI")


class Refused(Exception):
    """A shell cannot be had; `code` is one of the protocol."""

    def __init__(self, code: str, message: str) -> None:
        """Hold both."""
        super().__init__(message)
        self.code = code


class Stream:
    """A connection that shows a shell."""

    def __init__(self, loop: Loop, connection: socket.socket, shell: Shell) -> None:
        """Take over an answered connection."""
        self._loop = loop
        self._socket = connection
        self._shell = shell
        self._received = bytearray()
        self._unsent = bytearray()
        self._last = False
        self._closed = False
        self.watch()

    @property
    def slow(self) -> bool:
        """Whether so much waits to be sent that the shell should wait."""
        return len(self._unsent) > BACKLOG_BYTES

    def send(self, kind: bytes, payload: bytes, *, last: bool = False) -> None:
        """Send a frame; the connection is closed behind the last one."""
        if not self._closed and not self._last:
            self._unsent += _HEAD.pack(kind, len(payload)) + payload
            self._last = last
            self._write()

    def watch(self) -> None:
        """Wait for what can be done now."""
        if self._closed:
            return
        events = WRITE if self._unsent else 0
        if not self._shell.stuffed and not self._last:
            events |= READ
        if events:
            self._loop.watch(self._socket.fileno(), events, self._ready)
        else:
            self._loop.unwatch(self._socket.fileno())

    def close(self) -> None:
        """Let go of the connection."""
        if not self._closed:
            self._closed = True
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._shell.detach(self)

    def _ready(self) -> None:
        if self._unsent:
            self._write()
        if not self._closed and not self._shell.stuffed and not self._last:
            self._read()

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if self._last and not self._unsent:
            self.close()
            return
        self.watch()
        self._shell.watch()

    def _read(self) -> None:
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        while not self._closed and len(self._received) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._received)
            if length > FRAME_BYTES:
                self.close()
            elif len(self._received) < _HEAD.size + length:
                break
            else:
                payload = bytes(self._received[_HEAD.size : _HEAD.size + length])
                del self._received[: _HEAD.size + length]
                self._shell.take(kind, payload)


class Shell:
    """One bash on a terminal of its own."""

    def __init__(
        self, loop: Loop, process: subprocess.Popen[bytes], master: int, over: Callable[[], None]
    ) -> None:
        """Look after a started shell; `over` hears when nobody can ask for it any more."""
        self._loop = loop
        self._process = process
        self._master: int | None = master
        self._over = over
        self._stream: Stream | None = None
        self._scrollback = bytearray()
        self._input = bytearray()
        self._timer: Timer | None = None
        self._exited = False
        self.total = 0
        self.exit_code: int | None = None
        os.set_blocking(master, False)
        pidfd = os.pidfd_open(process.pid)
        loop.watch(pidfd, READ, lambda: self._leader_ended(pidfd))
        self.watch()

    @property
    def stuffed(self) -> bool:
        """Whether input has to wait."""
        return len(self._input) > PENDING_INPUT_BYTES

    def attach(self, connection: socket.socket, after: int | None) -> None:
        """Show the shell on a connection, from an offset of its output on as far as it is kept."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        earlier, self._stream = self._stream, None
        if earlier is not None:
            earlier.send(b"d", b"", last=True)
        self._stream = stream = Stream(self._loop, connection, self)
        replay = bytes(self._scrollback[self.start(after) - self._first :])
        if replay:
            stream.send(b"o", replay)
        if self.exit_code is not None:
            self._tell_exit(self.exit_code)

    def start(self, after: int | None) -> int:
        """The offset from which a connection is shown output."""
        return min(self.total, max(self._first, after or 0))

    def take(self, kind: bytes, payload: bytes) -> None:
        """Do what a frame asks for."""
        if kind == b"i":
            self._input += payload
            self.watch()
        elif kind == b"r" and len(payload) == 4:
            columns, rows = struct.unpack("!HH", payload)
            self.resize(columns, rows)
        elif kind == b"k":
            self.hang_up()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size, and the programs on it that it has changed."""
        if self._master is not None:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """End the shell and what runs on its terminal."""
        self._signal(signal.SIGHUP)
        self._loop.later(HANGUP_S, lambda: self._signal(signal.SIGKILL))

    def detach(self, stream: Stream) -> None:
        """Live on without this connection, for a while."""
        if self._stream is stream:
            self._stream = None
            self._wait_for_somebody()
            self.watch()

    def watch(self) -> None:
        """Wait for what can be done now."""
        if self._master is None:
            return
        events = WRITE if self._input else 0
        if self._stream is None or not self._stream.slow:
            events |= READ
        if events:
            self._loop.watch(self._master, events, self._ready)
        else:
            self._loop.unwatch(self._master)

    @property
    def _first(self) -> int:
        return self.total - len(self._scrollback)

    def _wait_for_somebody(self) -> None:
        if self._timer is None:
            after = self._over if self.exit_code is not None else self._give_up
            self._timer = self._loop.later(DETACHED_S, after)

    def _give_up(self) -> None:
        self._timer = None
        self.hang_up()

    def _ready(self) -> None:
        if self._input:
            self._feed()
        self._read()

    def _feed(self) -> None:
        assert self._master is not None
        try:
            del self._input[: os.write(self._master, self._input[:4096])]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        self.watch()
        if self._stream is not None:
            self._stream.watch()

    def _read(self) -> bool:
        if self._master is None:
            return False
        try:
            data = os.read(self._master, CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            # Nobody holds the other side of the terminal any more.
            data = b""
        if not data:
            self._loop.unwatch(self._master)
            os.close(self._master)
            self._master = None
            return False
        self.total += len(data)
        self._scrollback += data
        if len(self._scrollback) > 2 * SCROLLBACK_BYTES:
            del self._scrollback[:-SCROLLBACK_BYTES]
        if self._stream is not None:
            self._stream.send(b"o", data)
        return True

    def _leader_ended(self, pidfd: int) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        code = self._process.wait()
        self._exited = True
        deadline = time.monotonic() + DRAIN_S

        def drain() -> None:
            if self._master is not None and time.monotonic() < deadline:
                self._loop.later(0.005, drain)
                return
            # What the terminal still holds; a child that writes on and on must not hold us up.
            for _ in range(LAST_READS):
                if not self._read():
                    break
            self._ended(code if code >= 0 else 128 - code)

        drain()

    def _ended(self, exit_code: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            # Children that it left on the terminal, which is about to go.
            os.killpg(self._process.pid, signal.SIGHUP)
        if self._master is not None:
            self._loop.unwatch(self._master)
            os.close(self._master)
            self._master = None
        self.exit_code = exit_code
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stream is None:
            self._wait_for_somebody()
        else:
            self._tell_exit(exit_code)

    def _tell_exit(self, exit_code: int) -> None:
        assert self._stream is not None
        self._stream.send(b"x", struct.pack("!i", exit_code), last=True)

    def _signal(self, number: int) -> None:
        if not self._exited:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Shells:
    """All shells of this environment."""

    def __init__(self, loop: Loop, config: dict[str, Any], started: Callable[[], None]) -> None:
        """Run none yet; `started` hears of each that is."""
        self._loop = loop
        self._mount: str = config["mount"]
        self._variables: dict[str, str] = config["variables"]
        self._limits = Limits(config)
        self._started = started
        self._shells: dict[str, Shell] = {}

    def find(self, request: dict[str, Any]) -> tuple[Shell, bool]:
        """The shell that a request names, started when there is none and it may be.

        Returns:
            The shell, and whether it is new.

        Raises:
            Refused: there is none and none is to be made, or there are too many.
        """
        shell = self._shells.get(request["id"])
        if shell is not None:
            if shell.exit_code is None:
                shell.resize(request["columns"], request["rows"])
            return shell, False
        if request["resume"]:
            raise Refused("unknown_id", "there is no such shell, or it ended some time ago")
        living = [each for each in self._shells.values() if each.exit_code is None]
        if len(living) >= SHELLS_MAX:
            raise Refused("busy", f"the session has {SHELLS_MAX} shells, the most it may have")
        shell = self._shells[request["id"]] = self._start(request)
        self._started()
        return shell, True

    def _start(self, request: dict[str, Any]) -> Shell:
        master, slave = os.openpty()
        fcntl.ioctl(
            slave,
            termios.TIOCSWINSZ,
            struct.pack("HHHH", request["rows"], request["columns"], 0, 0),
        )

        def prepare() -> None:
            # The terminal becomes the one that Ctrl-C and hang-ups come from.
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            self._limits.apply()

        try:
            process = subprocess.Popen(
                ["bash", "-i"],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                cwd=self._mount,
                env={**self._variables, "TERM": "xterm-256color", **request["env"]},
                start_new_session=True,
                # Every descriptor of ours is already closed on exec.
                close_fds=False,
                preexec_fn=prepare,
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            os.close(master)
            raise Refused("internal", f"the shell could not be started: {error}") from None
        finally:
            os.close(slave)
        id = request["id"]
        return Shell(self._loop, process, master, lambda: self._forget(id))

    def _forget(self, id: str) -> None:
        self._shells.pop(id, None)
