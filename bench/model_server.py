"""An instant OpenAI-compatible model for measurements: says what it is told, notes when."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer

#: Seconds between tokens of a streamed answer.
TOKEN_GAP_S = 0.01


class ModelServer(ThreadedServer):
    """Serves on a free loopback port, in a thread of its own.

    `work N` makes it call `shell` with `true` N times, one call an answer; `count N` makes it
    stream N tokens, one each `TOKEN_GAP_S`, noting when each left in `sent` (seconds of the
    monotonic clock).
    """

    def __init__(self) -> None:
        """Prepare the server."""
        self.sent: list[float] = []
        self._made = 0
        app = Starlette(routes=[Route("/chat/completions", self._answer, methods=["POST"])])
        super().__init__(app)

    async def _answer(self, request: Request) -> StreamingResponse:
        body = await request.json()
        messages: list[dict[str, object]] = body["messages"]
        asked = next(m for m in reversed(messages) if m["role"] == "user")
        if asked is messages[-1]:
            self._made = 0
        verb, _, number = _text(asked["content"]).partition(" ")
        calls = verb == "work" and self._made < int(number)
        chunks = self._call() if calls else self._count(int(number) if verb == "count" else 1)
        return StreamingResponse(chunks, media_type="text/event-stream")

    async def _call(self) -> AsyncIterator[bytes]:
        self._made += 1
        function = {"name": "shell", "arguments": '{"command":"true"}'}
        call = {"index": 0, "id": f"call_{self._made}", "type": "function", "function": function}
        yield _chunk({"role": "assistant", "tool_calls": [call]})
        yield _chunk({}, finish="tool_calls")
        yield _USAGE
        yield b"data: [DONE]\n\n"

    async def _count(self, tokens: int) -> AsyncIterator[bytes]:
        self.sent.clear()
        start = time.monotonic()
        for index in range(tokens):
            await asyncio.sleep(max(0.0, start + index * TOKEN_GAP_S - time.monotonic()))
            self.sent.append(time.monotonic())
            yield _chunk({"content": f"{index} "})
        yield _chunk({}, finish="stop")
        yield _USAGE
        yield b"data: [DONE]\n\n"


_HEAD = {"id": "bench", "object": "chat.completion.chunk", "created": 0, "model": "bench"}
_USAGE = (
    b"data: "
    + json.dumps(
        _HEAD
        | {
            "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    ).encode()
    + b"\n\n"
)


def _chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps(_HEAD | {"choices": [choice]}).encode() + b"\n\n"


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return str(content[0]["text"])  # pyright: ignore[reportUnknownArgumentType]
