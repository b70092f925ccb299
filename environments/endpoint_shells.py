"""Interactive shells, as a sandbox host's endpoint serves them: between a WebSocket and agentd.

Binary messages are what is typed and what the terminal shows. Text messages are JSON: towards the
shell `resize` with columns and rows, and `end`; from it first `ready`, last `exit` with the status,
`taken` when another connection shows the shell now, or `gone` when its environment ended.
"""

import asyncio
import contextlib
import json
import struct
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.errors import (
    EnvironmentGone,
    EnvironmentRefused,
    EnvironmentUnavailable,
    ServiceError,
    StaleAttempt,
)
from environments.channel import Streams
from environments.commands import Commands
from environments.endpoint_calls import session_of, text, whole
from environments.host import SandboxHost
from store import Store

#: What agentd may send in one frame: its scrollback.
FRAME_BYTES = 1024 * 1024
#: What agentd takes in one frame.
INPUT_BYTES = 64 * 1024
#: Columns and rows.
TERMINAL_MAX = 1000

_HEAD = struct.Struct("!cI")


class _Control(BaseModel):
    """What a caller may say beside what is typed."""

    model_config = ConfigDict(extra="forbid")
    type: str = Field(pattern="^(resize|end)$")
    columns: int = Field(default=80, ge=1, le=TERMINAL_MAX)
    rows: int = Field(default=24, ge=1, le=TERMINAL_MAX)


class ShellRoutes:
    """Shows shells."""

    def __init__(self, store: Store, host: SandboxHost, commands: Commands) -> None:
        """Serve the shells of a host."""
        self._store = store
        self._host = host
        self._commands = commands

    async def show(self, socket: WebSocket) -> None:
        """Attach to a shell until it ends or the caller leaves; then it lives on for a while."""
        try:
            ready, streams = await self._attach(socket)
        except (EnvironmentUnavailable, EnvironmentGone) as error:
            await _deny(socket, 409, "unavailable", str(error))
        except EnvironmentRefused as refusal:
            await _deny(socket, 429 if refusal.code == "busy" else 409, refusal.code, str(refusal))
        except StaleAttempt as error:
            await _deny(socket, 421, "elsewhere", str(error))
        except ServiceError as error:
            await _deny(socket, 400, error.detail.error.value, error.detail.message)
        else:
            await socket.accept()
            await _show(socket, ready, streams)

    async def _attach(self, socket: WebSocket) -> tuple[dict[str, Any], Streams]:
        session = await session_of(socket, self._store, self._host)
        spec = await self._commands.spec(text(socket, "config"))
        after = socket.query_params.get("after")
        async with self._host.use(session, spec) as environment:
            shell, streams = await environment.shell(
                text(socket, "id"),
                columns=min(TERMINAL_MAX, max(1, whole(socket, "columns", 80))),
                rows=min(TERMINAL_MAX, max(1, whole(socket, "rows", 24))),
                resume=socket.query_params.get("resume") == "1",
                after=None if after is None else whole(socket, "after"),
                variables=spec.variables,
            )
        # Its processes keep the environment from being idle; `use` would hold it beyond its life.
        return {"type": "ready", "new": shell.new, "at": shell.at}, streams


async def _show(socket: WebSocket, ready: dict[str, Any], streams: Streams) -> None:
    reader, writer = streams
    typing = asyncio.create_task(_type(socket, writer))
    showing = asyncio.create_task(_tell(socket, ready, reader))
    try:
        await asyncio.wait((typing, showing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (typing, showing):
            task.cancel()
        await asyncio.gather(typing, showing, return_exceptions=True)
        writer.transport.abort()
        with contextlib.suppress(RuntimeError, OSError):
            await socket.close()


async def _tell(socket: WebSocket, ready: dict[str, Any], reader: asyncio.StreamReader) -> None:
    """Pass on what the shell shows, to its end."""
    await socket.send_text(json.dumps(ready))
    last: dict[str, Any] = {"type": "gone"}
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            kind, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
            if length > FRAME_BYTES:
                break
            payload = await reader.readexactly(length)
            if kind == b"o":
                await socket.send_bytes(payload)
            elif kind == b"x" and length == 4:
                last = {"type": "exit", "exitCode": struct.unpack("!i", payload)[0]}
                break
            elif kind == b"d":
                last = {"type": "taken"}
                break
    await socket.send_text(json.dumps(last))


async def _type(socket: WebSocket, writer: asyncio.StreamWriter) -> None:
    """Pass on what the caller types, until they leave or say what makes no sense."""
    with contextlib.suppress(WebSocketDisconnect, ValidationError, ConnectionError):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            typed: bytes | None = message.get("bytes")
            if typed is None:
                typed = b""
                control = _Control.model_validate_json(message.get("text") or "")
                if control.type == "resize":
                    size = struct.pack("!HH", control.columns, control.rows)
                    writer.write(_HEAD.pack(b"r", len(size)) + size)
                else:
                    writer.write(_HEAD.pack(b"k", 0))
            for start in range(0, len(typed), INPUT_BYTES):
                part = typed[start : start + INPUT_BYTES]
                writer.write(_HEAD.pack(b"i", len(part)) + part)
            await writer.drain()


async def _deny(socket: WebSocket, status: int, code: str, message: str) -> None:
    await socket.send_denial_response(JSONResponse({"error": code, "message": message}, status))
