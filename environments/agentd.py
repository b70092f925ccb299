"""agentd, the daemon inside every environment, whatever kind the environment is.

It inherits a listening stream socket as descriptor AGENTD_FD and its configuration as JSON in
AGENTD_CONFIG: `mount`, `variables` (the environment of every command), `memory_bytes`, `processes`,
`open_files`, `file_bytes`, `unattended_s`, `proxy` (the egress proxy's socket, or null),
`proxy_stream` (whether the host carries connections to the proxy instead). Nobody inside can reach
the listening socket by a path, and commands inherit neither.

Protocol, one request per connection: the caller sends one line of JSON of at most REQUEST_BYTES,
gets one line of JSON, and the connection is closed. A caller that goes away leaves its command
running.

    {"op": "exec", "id", "command", "env": {..}, "cwd": path|null, "timeout_s", "output_bytes"}
        Run `bash -c command`. The same id again joins the running command or gets the first result:
        an id never runs twice. Answered when the command ends; its background children live on.
    {"op": "attach", "id"}      Like exec for an id that is known; else the error `unknown_id`.
    {"op": "start", ...}        Like exec, but answered at once, and its output can be followed.
    {"op": "follow", "id", "stdout_from", "stderr_from", "wait_s"}
                                Output past these offsets, at the latest after `wait_s` with none.
    {"op": "cancel", "id"}      TERM to the command's group, KILL after 2 s; an id that comes later
                                will not run.
    {"op": "end_left", "id"}    KILL to what an ended command left in its group.
    {"op": "file", "id", "command", "path", ["old_str", "new_str", "file_text", "insert_line",
     "view_range"]}             A `file_operations` call; likewise done once per id.
    {"op": "shell", "id", "columns", "rows", "env": {..}, "resume": bool, "after": int|null}
                                An interactive shell, started unless `resume`; `after` is how much
                                of its output the caller has. Once answered, the connection carries
                                the frames of `agentd_shells.py`.
    {"op": "egress"}            The host carries connections to its egress proxy: once answered, the
                                connection has the frames of `agentd_lanes.py`.
    {"op": "info"}              Who answers and how busy it is.
    {"op": "shutdown", "grace_s"}   TERM to all, and the end after `grace_s` at most.

    exec, attach: {"ok": true, "result": {"end": exited|timed_out|cancelled|out_of_memory,
        "exit_code": int|null, "stdout", "stderr", "left_out_bytes", "output_file": path|null,
        "background": whether processes it started still run}}
    follow:       {"ok": true, "result": {"stdout_at", "stdout", "stderr_at", "stderr", "ended"}}
        with output in base64 and the offsets where it starts; `ended` when all has been told.
    shell:        {"ok": true, "result": {"new": bool, "at": the offset of the output that follows}}
    file:         {"ok": true, "result": {"text"}}
    info:         {"ok": true, "result": {"boot_id", "uptime_s", "idle_s", "running", "processes"}}
    cancel, shutdown, start, egress: {"ok": true, "result": {}}
    otherwise:    {"ok": false, "error": bad_request|unknown_id|forgotten|busy|internal, "message"}
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from environments.agentd_files import COMMANDS, operate
from environments.agentd_init import STRAY_FD_MAX, hide, split
from environments.agentd_jobs import RESULTS_MAX, Jobs
from environments.agentd_lanes import Lanes
from environments.agentd_loop import READ, WRITE, Loop
from environments.agentd_memory import end_all, processes, take_last
from environments.agentd_relay import Relay
from environments.agentd_shells import Refused, Shells

#: A request's line: a file of 1 MiB in JSON's worst spelling fits, six bytes for one.
REQUEST_BYTES = 8 * 1024**2
#: Connections at once; each waits for at most one command.
CONNECTIONS_MAX = 128
#: A command's text; the kernel takes at most 128 KiB as one argument.
COMMAND_BYTES = 128 * 1024 - 1
#: A day: no tool call may hold an environment longer.
TIMEOUT_MAX_S = 86400
#: Head plus tail of one command's output; the host's line limit is 4 MiB.
OUTPUT_BYTES_MAX = 256 * 1024
#: Seconds that a caller may wait for output.
FOLLOW_MAX_S = 60
#: Columns and rows of a terminal.
TERMINAL_MAX = 1000

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class BadRequest(Exception):
    """A request that does not follow the protocol."""


class Connection:
    """One caller, from its request to its answer."""

    def __init__(self, server: Server, stream: socket.socket) -> None:
        """Wait for the request."""
        self._server = server
        self._stream = stream
        self._received = bytearray()
        self._answer = b""
        self._asked = False
        self._taker: Callable[[socket.socket], None] | None = None
        stream.setblocking(False)
        server.loop.watch(stream.fileno(), READ, self._readable)

    def answer(self, value: dict[str, Any]) -> None:
        """Send the answer and close."""
        self._answer = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._server.loop.watch(self._stream.fileno(), WRITE, self._writable)

    def hand_over(self, value: dict[str, Any], taker: Callable[[socket.socket], None]) -> None:
        """Send the answer, and give the connection to `taker`."""
        self._taker = taker
        self.answer(value)

    def _readable(self) -> None:
        try:
            data = self._stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
        elif not self._asked:
            self._received += data
            if b"\n" in data:
                line, self._received = self._received.partition(b"\n")[0], bytearray()
                self._asked = True
                self._server.handle(bytes(line), self)
            elif len(self._received) > REQUEST_BYTES:
                self._close()

    def _writable(self) -> None:
        try:
            sent = self._stream.send(self._answer)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        self._answer = self._answer[sent:]
        if self._answer:
            return
        if self._taker is None:
            self._close()
        else:
            self._server.left(self)
            self._taker(self._stream)

    def _close(self) -> None:
        self._server.loop.unwatch(self._stream.fileno())
        self._stream.close()
        self._server.left(self)


class Server:
    """Takes requests and hands them to what does them."""

    def __init__(self, listener: socket.socket, config: dict[str, Any]) -> None:
        """Serve on a listening socket."""
        self.loop = Loop()
        self._listener = listener
        self._mount: str = config["mount"]
        self._jobs = Jobs(self.loop, config)
        self._shells = Shells(self.loop, config, self._jobs.watch_memory)
        self._lanes = Lanes(self.loop) if config["proxy_stream"] else None
        self._files: OrderedDict[str, str] = OrderedDict()
        self._connections: set[Connection] = set()
        self._boot_id = os.urandom(16).hex()
        self._started = time.monotonic()
        self._unattended_s = float(config["unattended_s"])
        self._end_if_unattended()
        listener.setblocking(False)
        self.loop.watch(listener.fileno(), READ, self._accept)

    def handle(self, line: bytes, connection: Connection) -> None:
        """Do one request and see that it is answered."""
        try:
            request = checked(line)
            self._dispatch(request, connection)
        except BadRequest as error:
            connection.answer({"ok": False, "error": "bad_request", "message": str(error)})
        except Exception as error:
            # A fault here must not end the session's environment; the caller learns of it.
            traceback.print_exc()
            connection.answer({"ok": False, "error": "internal", "message": repr(error)})

    def left(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._jobs.leave(connection.answer)
        self._connections.discard(connection)
        self.loop.watch(self._listener.fileno(), READ, self._accept)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        self._connections.add(Connection(self, stream))
        if len(self._connections) >= CONNECTIONS_MAX:
            self.loop.unwatch(self._listener.fileno())

    def _dispatch(self, request: dict[str, Any], connection: Connection) -> None:
        op = request["op"]
        waited_for = {
            "exec": self._jobs.exec,
            "start": self._jobs.start,
            "follow": self._jobs.follow,
        }
        if op in waited_for:
            waited_for[op](request, connection.answer)
        elif op == "attach":
            if not self._jobs.attach(request["id"], connection.answer):
                connection.answer(
                    {"ok": False, "error": "unknown_id", "message": "no command has this id"}
                )
        elif op == "shell":
            self._shell(request, connection)
        elif op == "egress":
            if self._lanes is None:
                raise BadRequest("egress: this environment has no way out by a stream")
            connection.hand_over({"ok": True, "result": {}}, self._lanes.attach)
        else:
            connection.answer({"ok": True, "result": self._done(request)})

    def _done(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what needs no waiting; its result."""
        op = request["op"]
        if op == "file":
            return {"text": self._file(request)}
        if op == "info":
            return self._info()
        if op == "cancel":
            self._jobs.cancel(request["id"])
        elif op == "end_left":
            self._jobs.end_left(request["id"])
        elif op == "shutdown":
            end_all(self.loop, request["grace_s"], self._end)
        return {}

    def _shell(self, request: dict[str, Any], connection: Connection) -> None:
        self._jobs.touch()
        try:
            shell, new = self._shells.find(request)
        except Refused as refusal:
            connection.answer({"ok": False, "error": refusal.code, "message": str(refusal)})
            return
        after = request["after"]
        result = {"new": new, "at": shell.start(after)}
        connection.hand_over(
            {"ok": True, "result": result}, lambda stream: shell.attach(stream, after)
        )

    def _file(self, request: dict[str, Any]) -> str:
        self._jobs.touch()
        id = request["id"]
        if id not in self._files:
            self._files[id] = operate(request, self._mount)
            while len(self._files) > RESULTS_MAX:
                self._files.popitem(last=False)
        return self._files[id]

    def _info(self) -> dict[str, Any]:
        others = len(processes())
        if others:
            self._jobs.touch()
        now = time.monotonic()
        return {
            "boot_id": self._boot_id,
            "uptime_s": now - self._started,
            "idle_s": now - self._jobs.last_activity,
            "running": self._jobs.running,
            "processes": others,
        }

    def _end_if_unattended(self) -> None:
        """End when nothing was done for longer than any living host would have let it run."""
        idle_s = self._info()["idle_s"]
        if idle_s > self._unattended_s and not self._jobs.running:
            self._end()
        else:
            self.loop.later(max(1.0, self._unattended_s - idle_s), self._end_if_unattended)

    def _end(self) -> None:
        self.loop.running = False


def checked(line: bytes) -> dict[str, Any]:
    """Read a request and check every member that its operation uses.

    Raises:
        BadRequest: it does not follow the protocol; the message says where.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("not an object")
    request = cast("dict[str, Any]", value)
    op = request.get("op")
    fields = _OPERATIONS.get(op) if isinstance(op, str) else None
    if fields is None:
        raise BadRequest(f"op must be one of {', '.join(_OPERATIONS)}")
    for name in fields:
        if not _FIELDS[name](request.setdefault(name, None)):
            raise BadRequest(f"{op}: {name} is missing or not what it must be")
    if op == "file" and request["command"] not in COMMANDS:
        raise BadRequest(f"file: command must be one of {', '.join(sorted(COMMANDS))}")
    return request


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_whole_or_none(value: Any) -> bool:
    return value is None or _is_whole(value)


def _is_seconds(value: Any) -> bool:
    return _is_whole(value) and 0 <= value <= TIMEOUT_MAX_S


def _is_output_bytes(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= OUTPUT_BYTES_MAX


def _is_id(value: Any) -> bool:
    return _is_text(value) and _ID.fullmatch(value) is not None


def _is_command(value: Any) -> bool:
    return _is_text(value) and len(value.encode("utf-8", "replace")) <= COMMAND_BYTES


def _are_variables(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _is_text(text) for text in cast("dict[str, Any]", value).values()
    )


def _is_range_or_none(value: Any) -> bool:
    if value is None:
        return True
    lines = cast("list[Any]", value)
    return isinstance(value, list) and len(lines) == 2 and all(_is_whole(line) for line in lines)


def _is_offset(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_offset_or_none(value: Any) -> bool:
    return value is None or _is_offset(value)


def _is_wait(value: Any) -> bool:
    return _is_whole(value) and 0 <= value <= FOLLOW_MAX_S


def _is_terminal_size(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= TERMINAL_MAX


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_FIELDS = {
    "id": _is_id,
    "stdout_from": _is_offset,
    "stderr_from": _is_offset,
    "wait_s": _is_wait,
    "columns": _is_terminal_size,
    "rows": _is_terminal_size,
    "resume": _is_flag,
    "after": _is_offset_or_none,
    "command": _is_command,
    "path": _is_text,
    "cwd": _is_text_or_none,
    "env": _are_variables,
    "timeout_s": _is_seconds,
    "grace_s": _is_seconds,
    "output_bytes": _is_output_bytes,
    "old_str": _is_text_or_none,
    "new_str": _is_text_or_none,
    "file_text": _is_text_or_none,
    "insert_line": _is_whole_or_none,
    "view_range": _is_range_or_none,
}
_OPERATIONS = {
    "exec": ("id", "command", "env", "cwd", "timeout_s", "output_bytes"),
    "start": ("id", "command", "env", "cwd", "timeout_s", "output_bytes"),
    "follow": ("id", "stdout_from", "stderr_from", "wait_s"),
    "shell": ("id", "columns", "rows", "env", "resume", "after"),
    "attach": ("id",),
    "cancel": ("id",),
    "end_left": ("id",),
    "file": (
        "id",
        "command",
        "path",
        "old_str",
        "new_str",
        "file_text",
        "insert_line",
        "view_range",
    ),
    "egress": (),
    "info": (),
    "shutdown": ("grace_s",),
}


def _ignore(number: int, frame: FrameType | None) -> None:
    """Go on."""


def main() -> None:
    """Serve until told to shut down."""
    split()
    fd = int(os.environ["AGENTD_FD"])
    os.set_inheritable(fd, False)
    os.closerange(3, fd)
    os.closerange(fd + 1, STRAY_FD_MAX)
    listener = socket.socket(fileno=fd)
    config = json.loads(os.environ["AGENTD_CONFIG"])
    take_last()
    # Keeps commands, which share our user id, from the listening socket too.
    hide()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which commands would inherit.
        signal.signal(number, _ignore)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server(listener, config)
    if config["proxy"]:
        Relay(server.loop, config["proxy"])
    server.loop.run()
    sys.exit(0)
