"""An application served on a free loopback port, in a thread of its own."""

import threading
from typing import Any

import uvicorn
from starlette.applications import Starlette

from tests.e2e.stack import wait_until


class ThreadedServer:
    """Serves until stopped."""

    def __init__(self, app: Starlette, **options: Any) -> None:
        """Prepare to serve an application, with further options of uvicorn."""
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, log_level="error", lifespan="off", **options
        )
        self._scheme = "https" if config.is_ssl else "http"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> str:
        """Start serving; the base URL."""
        self._thread.start()
        wait_until(lambda: self._server.started, what="the server did not start")
        return f"{self._scheme}://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
