"""Interactive shells of sessions: the caller's WebSocket, joined to that of the session's host.

Query: `shellId`, the key of the shell, made up when left out; `columns` and `rows`; `resume=true`
when the shell must be there; `after`, how much of its output the caller has; `qualifier`. Messages
are passed on as they are: binary ones are what is typed and shown, text ones are JSON.
"""

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from api.context import Context
from api.hosts import AGAIN_S, CONNECT_S, PATIENCE_S, HostAway, away, refusal
from api.own.request import OwnRequest
from api.session_calls import begin_session, fix_config
from contracts.errors import invalid
from contracts.json_values import as_object
from contracts.records import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

SHELL_HEADER = "x-everloop-shell-id"
SHELL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: Columns and rows of a terminal.
TERMINAL_MAX = 1000
#: A shell's scrollback comes as one message.
MESSAGE_BYTES = 1024 * 1024
#: Seconds for an environment to start and its shell with it.
OPEN_S = 60.0

_ALLOWED = ("shellId", "columns", "rows", "resume", "after", "qualifier")


async def show_shell(context: Context, request: OwnRequest, socket: WebSocket) -> None:
    """Join a caller to a shell until one side ends; the shell lives on for a while.

    Raises:
        ServiceError: before the WebSocket was accepted: the request is refused, or no shell can be
            had.
    """
    params, shell_id = _params(request)
    qualifier = request.query.get("qualifier", DEFAULT_ENDPOINT)
    params["config"], _ = await fix_config(context, request.labels["harnessId"], qualifier)
    session = await begin_session(
        context, request.labels["harnessId"], request.labels["runtimeSessionId"]
    )
    async with _connect(context, session, params) as host:
        await socket.accept(headers=[(SHELL_HEADER.encode(), shell_id.encode())])
        await _join(socket, host)


def _params(request: OwnRequest) -> tuple[dict[str, str], str]:
    for name in request.query:
        if name not in _ALLOWED:
            raise invalid(name[:100], f"is no parameter here; there are {', '.join(_ALLOWED)}")
    shell_id = request.query.get("shellId", uuid.uuid4().hex)
    if not SHELL_ID.fullmatch(shell_id):
        raise invalid("shellId", f"must match {SHELL_ID.pattern}")
    resume = request.query.get("resume", "false")
    if resume not in ("true", "false"):
        raise invalid("resume", "must be true or false")
    params = {
        "id": shell_id,
        "columns": str(request.whole("columns", default=80, low=1, high=TERMINAL_MAX)),
        "rows": str(request.whole("rows", default=24, low=1, high=TERMINAL_MAX)),
        "resume": "1" if resume == "true" else "0",
    }
    if "after" in request.query:
        params["after"] = str(request.whole("after", default=0, low=0, high=2**53))
    return params, shell_id


@asynccontextmanager
async def _connect(
    context: Context, session: str, params: dict[str, str]
) -> AsyncGenerator["ClientConnection"]:
    """The host's side, asked for again while the host is away.

    Raises:
        ServiceError: what the host says, or that it stays away.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            host = await _open(context, session, params)
            break
        except HostAway as error:
            if time.monotonic() > deadline:
                raise away(error) from error
            await asyncio.sleep(AGAIN_S)
    try:
        yield host
    finally:
        await host.close()


async def _open(context: Context, session: str, params: dict[str, str]) -> "ClientConnection":
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    address = await context.hosts.find(context.store, context.settings, session)
    url = address.url.replace("http", "ws", 1)
    try:
        async with asyncio.timeout(OPEN_S):
            return await connect(
                f"{url}/shell?{urlencode({**params, 'session': session})}",
                additional_headers={"Authorization": f"Bearer {address.secret}"},
                max_size=MESSAGE_BYTES,
                open_timeout=None,
                close_timeout=CONNECT_S,
                compression=None,
                proxy=None,
            )
    except InvalidStatus as error:
        body = as_object(_json(error.response.body))
        raise refusal(error.response.status_code, body, address.host) from None
    except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
        raise HostAway(f"the sandbox host {address.host!r} does not answer") from error


async def _join(socket: WebSocket, host: "ClientConnection") -> None:
    tasks = (asyncio.create_task(_up(socket, host)), asyncio.create_task(_down(socket, host)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, OSError):
                await socket.close()


async def _up(socket: WebSocket, host: "ClientConnection") -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(WebSocketDisconnect, ConnectionClosed):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            typed: bytes | None = message.get("bytes")
            await host.send(typed if typed is not None else message.get("text") or "")


async def _down(socket: WebSocket, host: "ClientConnection") -> None:
    async for message in host:
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)


def _json(data: Any) -> Any:
    try:
        return json.loads(data)
    except (TypeError, ValueError):
        return None
