"""A first model call that nobody waits for.

LiteLLM takes seconds to import, and loads more when it makes its first call and reads its first
stream, holding up whatever else runs in the process. This has all of that behind it: one call to a
model that answers from here, on a loopback port that is open for that long.
"""

import asyncio
import json
from typing import Any

from activities.model import gateway
from activities.model.mapping import Target
from contracts.messages import Origin

Json = dict[str, Any]

_TOOL: Json = {"name": "warm", "description": "None.", "parameters": {"type": "object"}}
_CALL: Json = {
    "index": 0,
    "id": "c",
    "type": "function",
    "function": {"name": "warm", "arguments": "{}"},
}
_USAGE: Json = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_STREAM: tuple[Json, ...] = (
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "warm"}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [_CALL]}}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    {"choices": [], "usage": _USAGE},
)
_HEAD: Json = {"id": "warm", "object": "chat.completion.chunk", "created": 0, "model": "warm"}


async def warm() -> None:
    """Import LiteLLM in a thread and read one stream through it."""
    await gateway.load()
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        target = Target(
            model="openai/warm",
            origin=Origin.OTHER,
            parameters={"api_base": f"http://127.0.0.1:{port}", "api_key": "none"},
        )
        messages: list[Json] = [{"role": "user", "content": "warm"}]
        async for _ in gateway.stream(target, messages, [{"type": "function", "function": _TOOL}]):
            pass


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    for event in _STREAM:
        writer.write(b"data: " + json.dumps({**_HEAD, **event}).encode() + b"\n\n")
    writer.write(b"data: [DONE]\n\n")
    await writer.drain()
    writer.close()
