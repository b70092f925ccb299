"""Tool calls, as a sandbox host's endpoint serves them to workers.

`POST /tools` has a call run or joins it, and answers with 204 when it is finished, or with 202 when
a while is over. What is not finished goes on, for whoever asks next.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from environments.endpoint_calls import text, whole

#: Milliseconds that a caller may have it wait.
WAIT_MAX_MS = 10_000

#: Sees that a call has an outcome: its session, invocation and id.
FinishCall = Callable[[str, str, str], Awaitable[None]]


class ToolRoutes:
    """Runs tool calls."""

    def __init__(self, finish: FinishCall) -> None:
        """Serve calls by what finishes them."""
        self._finish = finish

    async def run(self, request: Request) -> Response:
        """Have a call run, and wait a while for its outcome."""
        wait_ms = min(whole(request, "wait_ms"), WAIT_MAX_MS)
        session, invocation_id = text(request, "session"), text(request, "invocation")
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._finish(session, invocation_id, text(request, "id"))
        except TimeoutError:
            return Response(status_code=202)
        return Response(status_code=204)
