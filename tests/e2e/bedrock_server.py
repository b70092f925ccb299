"""A server that speaks Bedrock's ConverseStream protocol, for runs with the default model."""

import threading
import time
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.eventstream import event as event_frame


class BedrockServer:
    """Answers every ConverseStream call with the same words and remembers the model ids it saw."""

    def __init__(self, words: list[str]) -> None:
        self.models: list[str] = []
        self._words = words
        routes = [Route("/model/{model:path}/converse-stream", self._answer, methods=["POST"])]
        self._server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=routes), port=0, log_level="error", lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def start(self) -> str:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)

    async def _answer(self, request: Request) -> Response:
        self.models.append(request.path_params["model"])
        usage = {"inputTokens": 12, "outputTokens": len(self._words)}
        events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
        events += [
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
            for word in self._words
        ]
        events += [
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": usage | {"totalTokens": sum(usage.values())}, "metrics": {}}),
        ]
        body = b"".join(event_frame(name, payload) for name, payload in events)
        return Response(body, media_type="application/vnd.amazon.eventstream")
