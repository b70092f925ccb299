"""The demo model over HTTP: `POST /v1/chat/completions`, streamed or whole; `GET /v1/models`."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from activities.model.demo.answer import Answer, answer
from activities.model.demo.protocol import ChatRequest

#: Characters of a tool call's arguments in one delta: about what a real model's token holds.
ARGUMENT_FRAGMENT = 6

#: The only model; harnesses name it `demo/scripted`.
MODEL = "scripted"

_TOKEN = re.compile(r"\s*\S{1,8}|\s+")


def create_app(delay_s: float) -> Starlette:
    """Make the application.

    Args:
        delay_s: seconds between two tokens of a stream.
    """

    async def complete(request: Request) -> Response:
        try:
            asked = ChatRequest.model_validate_json(await request.body())
        except ValidationError as error:
            body = {"error": {"message": str(error), "type": "invalid_request_error"}}
            return JSONResponse(body, status_code=400)
        if asked.model != MODEL:
            message = f"The model `{asked.model}` does not exist; this server has only `{MODEL}`."
            body = {"error": {"message": message, "code": "model_not_found"}}
            return JSONResponse(body, status_code=404)
        reply = answer(asked)
        if not asked.stream:
            return JSONResponse(_whole(asked, reply))
        return StreamingResponse(_stream(asked, reply, delay_s), media_type="text/event-stream")

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _fragments(arguments: dict[str, Any]) -> list[str]:
    text = json.dumps(arguments, ensure_ascii=False)
    return [text[at : at + ARGUMENT_FRAGMENT] for at in range(0, len(text), ARGUMENT_FRAGMENT)]


def _usage(asked: ChatRequest, reply: Answer) -> dict[str, int]:
    read = sum(len(_tokens(text)) for message in asked.messages for text in message.texts)
    wrote = len(_tokens(reply.text)) + sum(len(_fragments(call.arguments)) for call in reply.calls)
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
    }


def _call_id(asked: ChatRequest, index: int) -> str:
    return f"call_demo_{len(asked.messages)}_{index}"


def _finish_reason(reply: Answer) -> str:
    return "tool_calls" if reply.calls else "stop"


def _whole(asked: ChatRequest, reply: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(asked, index),
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for index, call in enumerate(reply.calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(reply)}
    return {
        **_head(asked, "chat.completion"),
        "choices": [choice],
        "usage": _usage(asked, reply),
    }


def _head(asked: ChatRequest, kind: str) -> dict[str, Any]:
    # No clock: the same conversation gives the same bytes.
    return {
        "id": f"chatcmpl-demo-{len(asked.messages)}",
        "object": kind,
        "created": 0,
        "model": asked.model,
    }


def _deltas(asked: ChatRequest, reply: Answer) -> Iterator[dict[str, Any]]:
    for token in _tokens(reply.text):
        yield {"content": token}
    for index, call in enumerate(reply.calls):
        opened = {"name": call.name, "arguments": ""}
        yield {
            "tool_calls": [
                {
                    "index": index,
                    "id": _call_id(asked, index),
                    "type": "function",
                    "function": opened,
                }
            ]
        }
        for fragment in _fragments(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": fragment}}]}


async def _stream(asked: ChatRequest, reply: Answer, delay_s: float) -> AsyncIterator[str]:
    head = _head(asked, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    for delta in _deltas(asked, reply):
        if delay_s:
            await asyncio.sleep(delay_s)
        yield event(delta)
    yield event({}, _finish_reason(reply))
    if asked.stream_options and asked.stream_options.include_usage:
        choices: list[object] = []
        yield f"data: {json.dumps({**head, 'choices': choices, 'usage': _usage(asked, reply)})}\n\n"
    yield "data: [DONE]\n\n"
