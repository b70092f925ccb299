"""A server that speaks Bedrock's ConverseStream protocol, for runs with the default model."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.eventstream import event as event_frame
from tests.e2e.threaded import ThreadedServer


class BedrockServer(ThreadedServer):
    """Answers every ConverseStream call with the same words and remembers the model ids it saw."""

    def __init__(self, words: list[str]) -> None:
        self.models: list[str] = []
        self._words = words
        routes = [Route("/model/{model:path}/converse-stream", self._answer, methods=["POST"])]
        super().__init__(Starlette(routes=routes))

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
