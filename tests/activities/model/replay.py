"""A provider that says what a test tells it to: it replays bytes and keeps what it was asked."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer.

    `cut` ends the connection in the middle of the chunked body; `hold` keeps it open after the last
    piece until the client goes away.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    hold: bool = False


@dataclass(frozen=True)
class Request:
    """One HTTP request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Replay:
    """Answers requests in order, where the last reply repeats, or as `answer` says."""

    replies: list[Reply]
    url: str = ""
    answer: Callable[[Request], Reply] | None = None
    requests: list[Request] = field(default_factory=list[Request])
    #: Set when a client went away from a held answer.
    left: asyncio.Event = field(default_factory=asyncio.Event)

    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _none_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._none_open.clear()
        try:
            while (request := await _read(reader)) is not None:
                reply = self._reply(request)
                self.requests.append(request)
                await self._answer(reply, reader, writer)
                if reply.cut:
                    return
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()
            self._open.discard(writer)
            if not self._open:
                self._none_open.set()

    def _reply(self, request: Request) -> Reply:
        if self.answer is not None:
            return self.answer(request)
        return self.replies[min(len(self.requests), len(self.replies) - 1)]

    async def _gone_or_released(self, reader: asyncio.StreamReader) -> None:
        gone = asyncio.create_task(reader.read(1))
        released = asyncio.create_task(self._released.wait())
        done, left = await asyncio.wait((gone, released), return_when=asyncio.FIRST_COMPLETED)
        if gone in done:
            self.left.set()
        for task in left:
            task.cancel()

    async def release(self) -> None:
        """End the answers that are held."""
        self._released.set()

    async def hang_up(self) -> None:
        """End every connection and wait until its handler is done."""
        if self._open:
            for writer in self._open:
                writer.close()
            await asyncio.wait_for(self._none_open.wait(), 5)

    async def _answer(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = [
            f"HTTP/1.1 {reply.status} X",
            f"content-type: {reply.content_type}",
            "transfer-encoding: chunked",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n")
        for piece in reply.pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        if reply.hold:
            await self._gone_or_released(reader)
        if not reply.cut:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, json.loads(body) if body else {})


@asynccontextmanager
async def replaying(
    *replies: Reply, answer: Callable[[Request], Reply] | None = None
) -> AsyncGenerator[Replay]:
    """A provider on a free port of loopback."""
    replay = Replay(list(replies), answer=answer)
    server = await asyncio.start_server(replay.serve, "127.0.0.1", 0)
    replay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield replay
    finally:
        server.close()
        await replay.hang_up()


def sse(*events: dict[str, Any] | str) -> tuple[bytes, ...]:
    """Server-sent events, each a piece of its own."""
    texts = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return tuple(f"data: {text}\n\n".encode() for text in texts)


def named_sse(*events: dict[str, Any]) -> tuple[bytes, ...]:
    """Server-sent events with their type as the event's name, as Anthropic and Responses do."""
    return tuple(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def error(status: int, message: str, **headers: str) -> Reply:
    """An OpenAI-style error."""
    body = {"error": {"message": message, "type": "error", "code": None}}
    return Reply(
        (json.dumps(body).encode(),),
        status=status,
        content_type="application/json",
        headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()),
    )


def chat_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """A chunk of OpenAI's chat completions stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }


def chat_usage(read: int, wrote: int, cached: int = 0) -> dict[str, Any]:
    """The last chunk of a stream that was asked to include usage."""
    choices: list[object] = []
    return {
        **chat_chunk({}),
        "choices": choices,
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": wrote,
            "total_tokens": read + wrote,
            "prompt_tokens_details": {"cached_tokens": cached},
        },
    }


def chat(*deltas: dict[str, Any], finish: str | None = "stop", usage: bool = True) -> Reply:
    """A whole OpenAI chat stream."""
    events: list[dict[str, Any] | str] = [chat_chunk(delta) for delta in deltas]
    if finish:
        events.append(chat_chunk({}, finish))
    if usage:
        events.append(chat_usage(11, 7, cached=3))
    return Reply(sse(*events, "[DONE]"))


def call_delta(
    index: int, *, id: str | None = None, name: str | None = None, arguments: str = ""
) -> dict[str, Any]:
    """A piece of a tool call in an OpenAI chat stream."""
    function: dict[str, Any] = {"arguments": arguments}
    call: dict[str, Any] = {"index": index, "function": function}
    if id is not None:
        call |= {"id": id, "type": "function"}
    if name is not None:
        function["name"] = name
    return {"tool_calls": [call]}


def anthropic(*blocks: Sequence[dict[str, Any]], stop: str = "end_turn") -> Reply:
    """An Anthropic stream; each block is its start and the deltas that follow."""
    start = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list[object](),
        "model": "claude",
        "stop_reason": None,
        "usage": {
            "input_tokens": 20,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "output_tokens": 1,
        },
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, (opened, *deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    over = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": over, "usage": {"output_tokens": 30}})
    events.append({"type": "message_stop"})
    return Reply(named_sse(*events))


def gemini(*parts: Sequence[dict[str, Any]]) -> Reply:
    """A Gemini stream; each chunk holds parts."""
    events: list[dict[str, Any] | str] = []
    for place, held in enumerate(parts):
        candidate: dict[str, Any] = {
            "content": {"role": "model", "parts": list(held)},
            "index": 0,
        }
        event: dict[str, Any] = {"candidates": [candidate]}
        if place == len(parts) - 1:
            candidate["finishReason"] = "STOP"
            event["usageMetadata"] = {
                "promptTokenCount": 9,
                "candidatesTokenCount": 6,
                "totalTokenCount": 17,
                "thoughtsTokenCount": 2,
                "cachedContentTokenCount": 3,
            }
        events.append(event)
    return Reply(sse(*events))


def responses(*items: dict[str, Any], deltas: Sequence[dict[str, Any]] = ()) -> Reply:
    """An OpenAI Responses stream that ends with these output items."""
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5",
        "status": "in_progress",
        "output": list[object](),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": list[object](),
    }
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 18,
    }
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response}]
    events += deltas
    done = {**response, "status": "completed", "output": list(items), "usage": usage}
    events.append({"type": "response.completed", "response": done})
    numbered = ({**event, "sequence_number": place} for place, event in enumerate(events))
    return Reply(named_sse(*numbered))
