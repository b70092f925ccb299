"""The user's terminal, joined to a shell in a session by WebSocket."""

import asyncio
import contextlib
import importlib
import json
import os
import secrets
import signal
import sys
import termios
import time
import tty
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from everloop.cli.connection import Connection
from everloop.cli.errors import ApiError, CommandError
from everloop.cli.own_api import ERROR_HEADER, PREFIX, signer
from everloop.cli.session_names import SessionName

#: Ctrl-], as telnet has it: leave the shell running.
LEAVE = b"\x1d"
#: Ctrl-D: what is typed has ended.
END_OF_INPUT = b"\x04"
#: Seconds in which a broken connection is made again.
AGAIN_S = 60.0
#: Seconds between two tries.
PAUSE_S = 0.5
#: Seconds for an environment to start.
OPEN_S = 70.0
#: A shell's scrollback comes as one message.
MESSAGE_BYTES = 2 * 1024**2


class Shown:
    """One shell on this terminal."""

    def __init__(
        self,
        connection: Connection,
        session: SessionName,
        *,
        shell_id: str | None,
        qualifier: str | None,
        given: str,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            connection: where the API is.
            session: whose environment it runs in.
            shell_id: a shell that is there; None for a new one.
            qualifier: a named endpoint of the harness.
            given: how the user named the session.
        """
        self._connection = connection
        self._session = session
        self._id = shell_id or secrets.token_hex(4)
        self._resume = shell_id is not None
        self._qualifier = qualifier
        self._given = given
        self._received = 0
        self._attached_once = False
        self._left = False
        self._typed: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self) -> int:
        """Show the shell until it ends or is left; its exit code, 0 when it was left."""
        websockets: Any = importlib.import_module("websockets.exceptions")
        broken_at: float | None = None
        with self._raw():
            while True:
                try:
                    return await self._attached()
                except (websockets.ConnectionClosed, OSError, TimeoutError) as error:
                    broken_at = broken_at or time.monotonic()
                    if not self._attached_once or time.monotonic() - broken_at > AGAIN_S:
                        raise CommandError(
                            f"cannot reach the API at {self._connection.data_url}: {error}"
                        ) from error
                await asyncio.sleep(PAUSE_S)

    async def _attached(self) -> int:
        client: Any = importlib.import_module("websockets.asyncio.client")
        exceptions: Any = importlib.import_module("websockets.exceptions")
        url, headers = self._signed()
        try:
            socket = await client.connect(
                url.replace("http", "ws", 1),
                additional_headers=headers,
                max_size=MESSAGE_BYTES,
                open_timeout=OPEN_S,
                compression=None,
            )
        except exceptions.InvalidStatus as error:
            raise _refusal(error.response) from None
        async with socket:
            typing = asyncio.create_task(self._type(socket))
            try:
                async for message in socket:
                    if isinstance(message, bytes):
                        self._received += len(message)
                        _show(message)
                        continue
                    code = self._told(json.loads(message))
                    if code is not None:
                        return code
            finally:
                typing.cancel()
                await asyncio.gather(typing, return_exceptions=True)
        if self._left:
            print(
                f"\r\nThe shell goes on for five minutes: everloop shell {self._given} "
                f"--shell-id {self._id}\r",
                file=sys.stderr,
            )
            return 0
        raise OSError("the connection broke")

    def _told(self, message: dict[str, Any]) -> int | None:
        """Take in what is said about the shell; its exit code when that is the last of it."""
        match message.get("type"):
            case "ready":
                self._attached_once = self._resume = True
                self._received = message["at"]
            case "exit":
                return int(message["exitCode"])
            case "taken":
                raise CommandError("another connection shows the shell now")
            case "gone":
                raise CommandError("the environment ended, and the shell with it; files are kept")
            case _:
                pass
        return None

    async def _type(self, socket: Any) -> None:
        loop = asyncio.get_running_loop()
        resized = asyncio.Event()
        loop.add_signal_handler(signal.SIGWINCH, resized.set)
        try:
            while True:
                waiting = {
                    asyncio.create_task(self._typed.get()),
                    asyncio.create_task(resized.wait()),
                }
                try:
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in waiting:
                        task.cancel()
                for task in done:
                    typed = task.result()
                    if isinstance(typed, bytes):
                        await self._send(socket, typed)
                if resized.is_set():
                    resized.clear()
                    columns, rows = _size()
                    size = {"type": "resize", "columns": columns, "rows": rows}
                    await socket.send(json.dumps(size))
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)

    async def _send(self, socket: Any, typed: bytes) -> None:
        before, leave, _ = typed.partition(LEAVE)
        if before:
            await socket.send(before)
        if leave and sys.stdin.isatty():
            self._left = True
            await socket.close()

    def _signed(self) -> tuple[str, dict[str, str]]:
        request_module: Any = importlib.import_module("botocore.awsrequest")
        columns, rows = _size()
        query = {
            "shellId": self._id,
            "columns": str(columns),
            "rows": str(rows),
            "resume": str(self._resume).lower(),
        }
        if self._attached_once:
            query["after"] = str(self._received)
        if self._qualifier is not None:
            query["qualifier"] = self._qualifier
        ids = (self._session.harness_id, self._session.session_id)
        harness, session = (quote(each, safe="") for each in ids)
        base = self._connection.data_url.rstrip("/")
        path = f"{PREFIX}/harnesses/{harness}/sessions/{session}/shell"
        request = request_module.AWSRequest("GET", f"{base}{path}?{urlencode(query)}")
        signer(self._connection).add_auth(request)
        return request.url, {name: str(value) for name, value in request.headers.items()}

    @contextmanager
    def _raw(self) -> Generator[None]:
        """Hand every key on as it is typed; give the terminal back as it was."""
        loop = asyncio.get_running_loop()
        fd = sys.stdin.fileno()

        def read() -> None:
            typed = b""
            with contextlib.suppress(OSError):
                typed = os.read(fd, 65536)
            if not typed:
                loop.remove_reader(fd)
            self._typed.put_nowait(typed or END_OF_INPUT)

        before = termios.tcgetattr(fd) if os.isatty(fd) else None
        if before is not None:
            # What was typed ahead stays.
            tty.setraw(fd, termios.TCSADRAIN)
        try:
            # A regular file is always ready, which an event loop cannot be told.
            with contextlib.suppress(PermissionError):
                loop.add_reader(fd, read)
            yield
        finally:
            loop.remove_reader(fd)
            if before is not None:
                termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _size() -> tuple[int, int]:
    """Columns and rows of this terminal, whatever the environment says of another."""
    for stream in (sys.stdout, sys.stdin):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(stream.fileno())
            if size.columns and size.lines:
                return size.columns, size.lines
    return 80, 24


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _refusal(response: Any) -> CommandError:
    told: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        told = json.loads(response.body or b"{}")
    name = response.headers.get(ERROR_HEADER) or f"HTTP {response.status_code}"
    return ApiError(name, told.get("message") or "(no message)")
