"""The data plane of a sandbox host: what is asked of sessions' environments directly.

API processes and workers come over HTTP and WebSocket, on loopback unless an operator binds it
elsewhere. Every request shows the secret that this process made at its start and left with its
address in the store; a process that comes after has another. Calls name sessions, commands and
configurations by reference, and find them in the store.
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
from collections.abc import Generator
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from contracts.errors import (
    EnvironmentGone,
    EnvironmentRefused,
    EnvironmentUnavailable,
    ServiceError,
    StaleAttempt,
)
from contracts.settings import Settings
from environments.commands import Commands, SpecOf
from environments.endpoint_commands import CommandRoutes
from environments.endpoint_files import FileRoutes
from environments.endpoint_shells import ShellRoutes
from environments.endpoint_snapshots import SnapshotRoutes
from environments.endpoint_tools import FinishCall, ToolRoutes
from environments.host import SandboxHost
from environments.snapshot_work import SnapshotWork
from store import Store

log = logging.getLogger(__name__)

#: Connections at once; each follower of a command and each shell holds one. Others are told 503.
CONNECTIONS_MAX = 512
#: Bytes of the secret; as many as a key of AES-256 has.
SECRET_BYTES = 32
#: Seconds for requests to end when the host does: followers come again.
SHUTDOWN_S = 1
#: One WebSocket message.
MESSAGE_BYTES = 256 * 1024

#: The status and the code of each error that callers tell apart.
_ERRORS: dict[type[Exception], tuple[int, str]] = {
    EnvironmentUnavailable: (409, "unavailable"),
    StaleAttempt: (421, "elsewhere"),
    EnvironmentGone: (409, "gone"),
}


class HostEndpoint:
    """Serves one sandbox host."""

    def __init__(
        self,
        store: Store,
        host: SandboxHost,
        settings: Settings,
        *,
        spec_of: SpecOf,
        finish_call: FinishCall,
        snapshots: SnapshotWork | None = None,
    ) -> None:
        """Serve nothing until it is entered.

        Args:
            store: has what calls refer to.
            host: owns the environments.
            settings: where to listen, and what address to tell.
            spec_of: what a run asks of its session's environment.
            finish_call: runs tool calls.
            snapshots: who makes snapshots; nobody else does when omitted.
        """
        self._store = store
        self._host = host
        self._settings = settings
        self._secret = secrets.token_hex(SECRET_BYTES)
        self._commands = Commands(store, host, spec_of)
        self._tools = ToolRoutes(finish_call)
        self._snapshots = snapshots or SnapshotWork(host)
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "HostEndpoint":
        """Listen, take up commands of an earlier process, and say where to be found.

        Raises:
            ValueError: the address to be found at is not known.
            OSError: the address cannot be listened on.
        """
        listener = socket.create_server((self._settings.host_bind, self._settings.host_port))
        url = advertised(self._settings, listener.getsockname()[1])
        config = uvicorn.Config(
            self._app(),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=MESSAGE_BYTES,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not self._serving.done():
            await asyncio.sleep(0.005)
        await self._commands.resume()
        await self._store.hosts.announce(self._host.name, url, self._secret)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Serve no longer; commands and shells go on in their environments."""
        assert self._server is not None and self._serving is not None
        await self._commands.close()
        self._server.should_exit = True
        await self._serving

    def _app(self) -> ASGIApp:
        commands = CommandRoutes(self._store, self._host, self._commands)
        shells = ShellRoutes(self._store, self._host, self._commands)
        files = FileRoutes(self._store, self._host)
        snapshots = SnapshotRoutes(self._store, self._host, self._snapshots)
        app = Starlette(
            routes=[
                Route("/tools", self._tools.run, methods=["POST"]),
                Route("/commands", commands.follow, methods=["POST"]),
                Route("/stop", commands.stop, methods=["POST"]),
                WebSocketRoute("/shell", shells.show),
                Route("/files", files.read, methods=["GET"]),
                Route("/files", files.write, methods=["PUT"]),
                Route("/files", files.change, methods=["POST"]),
                Route("/files", files.delete, methods=["DELETE"]),
                Route("/snapshots", snapshots.read, methods=["GET"]),
                Route("/snapshots", snapshots.change, methods=["POST"]),
                Route("/snapshots", snapshots.delete, methods=["DELETE"]),
            ],
            exception_handlers={
                ServiceError: _refuse_service,
                EnvironmentRefused: _refuse_environment,
                Exception: _fail,
                **dict.fromkeys(_ERRORS, _refuse),
            },
        )
        return _Guard(app, self._secret)


class _Server(uvicorn.Server):
    """A server in a process whose signals are somebody else's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone."""
        yield


class _Guard:
    """Lets in only who shows the secret."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app = app
        self._expected = f"Bearer {secret}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = HTTPConnection(scope).headers.get("authorization", "")
        if hmac.compare_digest(shown.encode("latin-1"), self._expected):
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse({"error": "unauthorized", "message": "the secret is wrong"}, 401)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)


def advertised(settings: Settings, port: int) -> str:
    """The address that API processes are told.

    Raises:
        ValueError: it cannot be told from the address that is listened on.
    """
    if settings.host_address is not None:
        return settings.host_address.rstrip("/")
    if settings.host_bind in ("0.0.0.0", "::", ""):
        raise ValueError(
            f"EVERLOOP_HOST_BIND is {settings.host_bind!r}, which is no address to be found at; "
            f"set EVERLOOP_HOST_ADDRESS too, as http://10.0.0.7:{port}"
        )
    shown = f"[{settings.host_bind}]" if ":" in settings.host_bind else settings.host_bind
    return f"http://{shown}:{port}"


async def _refuse(_: Request, error: Exception) -> Response:
    status, code = next(value for kind, value in _ERRORS.items() if isinstance(error, kind))
    return JSONResponse({"error": code, "message": str(error)}, status)


async def _refuse_environment(_: Request, error: Exception) -> Response:
    assert isinstance(error, EnvironmentRefused)
    status = 429 if error.code == "busy" else 409
    return JSONResponse({"error": error.code, "message": str(error)}, status)


async def _refuse_service(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    detail = error.detail
    body = {"error": detail.error.value, "message": detail.message}
    if detail.fields:
        body["field"] = detail.fields[0].name
    return JSONResponse(body, 400)


async def _fail(_: Request, error: Exception) -> Response:
    log.error("a request failed: %s", type(error).__name__, exc_info=error)
    return JSONResponse({"error": "internal", "message": "the sandbox host failed"}, 500)
