"""Commands and stops, as a sandbox host's endpoint serves them.

`POST /commands` answers with lines of JSON: `{}` once the command was sent and after each silence;
pieces of output in base64 with their offsets; last `end`, with the text of the output when it was
not told in pieces.
"""

import base64
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from contracts.environment import OutputPiece
from environments.commands import Commands, Ended
from environments.endpoint_calls import session_of, text, whole
from environments.host import SandboxHost
from store import Store


class CommandRoutes:
    """Runs, follows and ends commands."""

    def __init__(self, store: Store, host: SandboxHost, commands: Commands) -> None:
        """Serve the commands of a host."""
        self._store = store
        self._host = host
        self._commands = commands

    async def follow(self, request: Request) -> Response:
        """Run an admitted command or join it; its output past two offsets, and its end."""
        told = self._commands.follow(
            await session_of(request, self._store, self._host),
            text(request, "id"),
            stdout_from=whole(request, "stdout_from"),
            stderr_from=whole(request, "stderr_from"),
        )
        # What keeps the command from being sent becomes the status, not a line.
        await anext(told)
        return StreamingResponse(_lines(told), media_type="application/x-ndjson")

    async def stop(self, request: Request) -> Response:
        """Stop a session's environment, if it still is of the given generation."""
        session = await session_of(request, self._store, self._host)
        await self._commands.stop(session, whole(request, "generation"))
        return JSONResponse({})


async def _lines(told: AsyncGenerator[OutputPiece | Ended | None]) -> AsyncGenerator[bytes]:
    yield b"{}\n"
    async with contextlib.aclosing(told):
        async for each in told:
            yield json.dumps(_line(each)).encode() + b"\n"


def _line(told: OutputPiece | Ended | None) -> dict[str, Any]:
    if told is None:
        return {}
    if isinstance(told, OutputPiece):
        return {
            "stdout_at": told.stdout_at,
            "stdout": base64.b64encode(told.stdout).decode(),
            "stderr_at": told.stderr_at,
            "stderr": base64.b64encode(told.stderr).decode(),
        }
    result = told.result
    end: dict[str, Any] = {"end": result.end.value, "exit_code": result.exit_code}
    if not told.told:
        end |= {"stdout": result.stdout, "stderr": result.stderr}
    return {"end": end}
