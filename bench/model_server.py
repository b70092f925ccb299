"""An instant OpenAI-compatible model for measurements: says what it is told, notes when."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.e2e.threaded import ThreadedServer

#: Seconds between tokens of a streamed answer.
TOKEN_GAP_S = 0.01


class ModelServer(ThreadedServer):
    """Serves on a free loopback port, in a thread of its own.

    `work N` makes it call `shell` with `true` N times, one call an answer; `ask 1` makes it call
    `request_approval`, which the caller runs; `count N` makes it stream N tokens, one each
    `TOKEN_GAP_S`, noting when each left in `sent` (seconds of the monotonic clock). It remembers
    nothing, so that many sessions can talk to it at once: each of its calls says how many came
    before.
    """

    def __init__(self) -> None:
        """Prepare the server."""
        self.sent: list[float] = []
        app = Starlette(routes=[Route("/chat/completions", self._answer, methods=["POST"])])
        super().__init__(app)

    async def _answer(self, request: Request) -> StreamingResponse:
        body = await request.json()
        messages: list[dict[str, Any]] = body["messages"]
        asked = next(m for m in reversed(messages) if m["role"] == "user")
        verb, _, number = _text(asked["content"]).partition(" ")
        made = _made(messages) if verb in ("work", "ask") and asked is not messages[-1] else 0
        if verb == "work" and made < int(number):
            chunks = self._call(made, "shell", {"command": f"true {made + 1}"})
        elif verb == "ask" and made == 0:
            chunks = self._call(made, "request_approval", {"request": "1"})
        else:
            chunks = self._count(int(number) if verb == "count" else 1)
        return StreamingResponse(chunks, media_type="text/event-stream")

    async def _call(self, made: int, name: str, arguments: dict[str, str]) -> AsyncIterator[bytes]:
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": f"call_{made}", "type": "function", "function": function}
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


def _made(messages: list[dict[str, Any]]) -> int:
    """How many calls the model has made since it was asked, by its own last one."""
    last = next(m for m in reversed(messages) if m.get("tool_calls"))
    arguments = json.loads(last["tool_calls"][0]["function"]["arguments"])
    return int("".join(arguments.values()).split()[-1])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else str(content[0]["text"])
