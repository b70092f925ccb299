"""A real HTTP server that takes notices in, and refuses them for as long as it is told to."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer

SECRET = "whsec-planted-9f1c"
PATH = "/hooks/planted-a7d3"
PAGE = Path(__file__).parents[1] / "docs" / "notices.md"


@dataclass(frozen=True)
class Received:
    """A request."""

    headers: dict[str, str]
    body: bytes
    json: Any

    @property
    def delivery(self) -> str:
        return self.headers["x-everloop-delivery"]

    @property
    def is_signed(self) -> bool:
        """What the check that the documentation shows to receivers says."""
        shown = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert shown is not None
        checks: dict[str, Any] = {}
        exec(shown[1], checks)
        timestamp = self.headers["x-everloop-timestamp"]
        given = self.headers["x-everloop-signature"]
        genuine = checks["is_genuine"](SECRET, timestamp, self.body, given)
        return genuine and not checks["is_genuine"](SECRET, timestamp, self.body + b" ", given)


class Receiver:
    """Answers with `status` to the first requests, as many as `refuses`; to others with 200."""

    def __init__(self, refuses: int = 0, status: int = 503) -> None:
        self.refuses = refuses
        self.status = status
        self.refused: list[Received] = []
        self.taken: list[Received] = []
        route = Route(PATH, self._take, methods=["POST"])
        self._server = ThreadedServer(Starlette(routes=[route]))

    def start(self) -> str:
        """Start; the URL to send to."""
        return f"{self._server.start()}{PATH}"

    def stop(self) -> None:
        self._server.stop()

    async def _take(self, request: Request) -> Response:
        found = Received(dict(request.headers), await request.body(), await request.json())
        if len(self.refused) < self.refuses:
            self.refused.append(found)
            return Response(status_code=self.status, headers={"location": PATH})
        self.taken.append(found)
        return Response("ok")
