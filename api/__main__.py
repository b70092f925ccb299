"""`python -m api`: the API process.

Reads `EVERLOOP_*` variables, prints one line with its address once it listens, and writes
`<data_dir>/run/api.json` with its port and pid. Beyond this machine it lets in only who signs with
an access key, and does not start without one. SIGTERM ends it: open streams are cut after at most
`SHUTDOWN_S`, their turns go on.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from temporalio.client import Client

from api.app import create_app
from api.context import Context
from api.gate import make_gate, verifies
from api.provisioning import Provisioner
from api.sessions import Sessions
from contracts.errors import EverloopError
from contracts.settings import Settings
from store import MapSource, Store, ring_of

log = logging.getLogger("api")

#: Time for short requests to end; a stream that is cut can be attached to again.
SHUTDOWN_S = 5

#: An SDK's pool reuses connections; one that the server closes first may fail a call.
IDLE_CONNECTION_S = 75

#: Connections that wait to be accepted.
BACKLOG = 2048

#: The request line and headers; larger ones are refused before they are read.
MAX_HEAD_BYTES = 64 * 1024

#: One WebSocket message; what is typed into a shell takes a few bytes, what is pasted more.
MAX_MESSAGE_BYTES = 256 * 1024


class _Server(uvicorn.Server):
    """A server that says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._record = settings.data_dir / "run" / "api.json"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            _write_atomically(self._record, json.dumps({"port": port, "pid": os.getpid()}))
            shown = f"[{host}]" if ":" in host else host
            print(f"Everloop API listens on http://{shown}:{port}", flush=True)


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncGenerator[Context]:
    """Open what handlers need; Temporal is connected to by the first call that needs it."""
    ring = ring_of(settings)
    operator = MapSource(settings.sandbox.map_file)
    store = await Store.open(settings.database_url, ring)
    try:
        client = await Client.connect(
            settings.temporal_address, namespace=settings.temporal_namespace, lazy=True
        )
        sessions = Sessions(client, grace_s=settings.grace_s, park_s=settings.park_s)
        gate = make_gate(store, settings)
        context = Context(settings, store, sessions, Provisioner(client), ring, gate, operator)
        try:
            yield context
        finally:
            await context.hosts.close()
    finally:
        await store.close()


async def check_keys(settings: Settings) -> None:
    """See that somebody can be let in.

    Raises:
        ValueError: signatures are to be verified and there is no access key.
        EverloopError: the database cannot be asked.
    """
    if not verifies(settings):
        log.warning("any signature is accepted: the API serves this machine only")
        return
    store = await Store.open(settings.database_url)
    try:
        if not await store.access_keys.list():
            raise ValueError(
                f"EVERLOOP_API_HOST is {settings.api_host} and there is no access key, so that "
                "nobody could be let in; make one with: everloop keys create"
            )
    finally:
        await store.close()


def listen(settings: Settings) -> socket.socket:
    """The listening socket."""
    family, _, _, _, address = socket.getaddrinfo(
        settings.api_host, settings.api_port, type=socket.SOCK_STREAM
    )[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    # asyncio does this only for sockets of its own; without it a frame of a stream can wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def main() -> int:
    """Run the API until a signal ends it.

    Returns:
        The exit status: 0 after SIGTERM or SIGINT, 1 when it could not start.
    """
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = Settings.from_env(os.environ)
        MapSource(settings.sandbox.map_file).read()
        asyncio.run(check_keys(settings))
        listener = listen(settings)
    except (ValueError, OSError, EverloopError) as error:
        print(f"everloop api: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        create_app(lambda: open_context(settings)),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        timeout_keep_alive=IDLE_CONNECTION_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    server = _Server(config, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # Uvicorn raises the signal again after its own shutdown; then there is nothing left to do.
        signal.signal(number, _ignore)
    asyncio.run(server.serve(sockets=[listener]))
    return 0 if server.started else 1


def _ignore(_number: int, _frame: object) -> None:
    pass


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


if __name__ == "__main__":
    sys.exit(main())
