"""The one door to model providers: LiteLLM, imported late, and what it streams, in our own words.

Importing LiteLLM takes seconds and 200 MB, so this module does not do it until `warm` or the first
call. Nothing of LiteLLM's leaves this file: chunks go out as `chunks` values, exceptions as they
are, for `failures` to judge by name and status.
"""

import asyncio
import importlib
import logging
import os
import warnings
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from activities.model.chunks import (
    CallInput,
    CallOpened,
    Chunk,
    Finish,
    Opaque,
    Reasoning,
    Redacted,
    Signature,
    Text,
    Usage,
)
from activities.model.mapping import Target
from contracts.messages import TokenUsage

Json = dict[str, Any]

#: Seconds without a byte before a provider is given up: reasoning models are silent for minutes.
SILENCE_S = 600

_ALWAYS: Json = {
    "stream": True,
    "stream_options": {"include_usage": True},
    # Temporal owns retries: a second layer would multiply attempts and hide Retry-After.
    "num_retries": 0,
    "max_retries": 0,
    "timeout": SILENCE_S,
    # LiteLLM's own MCP gateway, which would import a package and look at every tool on each call.
    "_skip_mcp_handler": True,
}


async def warm() -> None:
    """Import LiteLLM in a thread, so that the first call does not wait for it."""
    await asyncio.to_thread(_litellm)


async def close() -> None:
    """Close the connections that LiteLLM keeps open, if it was ever imported."""
    if _litellm.cache_info().currsize:
        await _litellm().close_litellm_async_clients()


async def stream(
    target: Target, messages: Sequence[Json], tools: Sequence[Json]
) -> AsyncGenerator[Chunk]:
    """Call a model and yield what it says.

    Closing the iterator, or cancelling whoever reads it, ends the provider's stream.

    Args:
        target: the model and its parameters, from `mapping`.
        messages: the conversation, from `translate`.
        tools: the offered tools in OpenAI's shape.

    Yields:
        Chunks. A `Finish` and after it a `Usage` are the last two; a stream that ends without a
        `Finish` was cut.

    Raises:
        Exception: whatever LiteLLM or the transport raises.
    """
    litellm = await asyncio.to_thread(_litellm)
    offered: Json = {"tools": list(tools)} if tools else {}
    response: Any = await litellm.acompletion(
        model=target.model, messages=list(messages), **offered, **target.parameters, **_ALWAYS
    )
    wrote: list[str] = []
    finish: Finish | None = None
    try:
        async for said in response:
            for chunk in _chunks(said, response):
                wrote.extend(_words(chunk))
                finish = chunk if isinstance(chunk, Finish) else finish
                yield chunk
            if finish:
                # The provider's usage came before LiteLLM let the finish reason through. Reading on
                # would only make it rebuild the whole response for callbacks that nobody has set.
                break
        if finish:
            yield _usage(response) or _count(target, messages, tools, "".join(wrote))
    finally:
        await response.aclose()


@cache
def _litellm() -> Any:
    # Without it, the import fetches a price list from the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    # Its bridge to the Responses API serialises half-filled models; pydantic warns on each chunk.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    return litellm


def _chunks(said: Any, response: Any) -> Iterator[Chunk]:
    for choice in said.choices:
        yield from _delta(choice.delta)
        if choice.finish_reason:
            yield from _finish(choice.finish_reason, response)


def _finish(reason: str, response: Any) -> Iterator[Chunk]:
    # LiteLLM makes up a "stop" for a stream that ended without a reason, and maps failures to it.
    own = getattr(response, "received_finish_reason", reason) or getattr(
        response, "intermittent_finish_reason", None
    )
    if own:
        yield Finish(own if isinstance(own, str) else reason)


def _delta(delta: Any) -> Iterator[Chunk]:
    yield from _thoughts(delta)
    if text := getattr(delta, "content", None):
        yield Text(text)
    for call in getattr(delta, "tool_calls", None) or ():
        yield from _call(call)
    if items := getattr(delta, "reasoning_items", None):
        yield Opaque("reasoning_items", tuple(_plain(item) for item in items))
    own: Json = getattr(delta, "provider_specific_fields", None) or {}
    if signatures := own.get("thought_signatures"):
        yield Opaque("thought_signatures", tuple(signatures))


def _thoughts(delta: Any) -> Iterator[Chunk]:
    blocks: list[Json] = [_plain(block) for block in getattr(delta, "thinking_blocks", None) or ()]
    for block in blocks:
        if data := block.get("data"):
            yield Redacted(data)
        if thought := block.get("thinking"):
            yield Reasoning(thought)
        if signature := block.get("signature"):
            yield Signature(signature)
    if not blocks and (thought := getattr(delta, "reasoning_content", None)):
        yield Reasoning(thought)


def _call(call: Any) -> Iterator[Chunk]:
    function = call.function
    if function.name:
        own: Json = getattr(call, "provider_specific_fields", None) or {}
        yield CallOpened(call.index, call.id or "", function.name, dict(own) or None)
    if function.arguments:
        yield CallInput(call.index, function.arguments)


def _plain(value: Any) -> Json:
    return dict(value) if isinstance(value, Mapping) else value.model_dump(exclude_none=True)  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]


def _words(chunk: Chunk) -> Iterator[str]:
    match chunk:
        case Text(text) | Reasoning(text):
            yield text
        case CallInput(_, fragment):
            yield fragment
        case _:
            pass


def _usage(response: Any) -> Usage | None:
    """What the provider said that the call cost; its later chunks override its earlier ones."""
    counts = {"prompt_tokens": 0, "completion_tokens": 0, "read": 0, "write": 0}
    for chunk in getattr(response, "chunks", ()):
        usage: Any = getattr(chunk, "usage", None)
        if usage is None:
            continue
        details: Any = getattr(usage, "prompt_tokens_details", None)
        found = {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "read": getattr(usage, "cache_read_input_tokens", None)
            or getattr(details, "cached_tokens", None),
            "write": getattr(usage, "cache_creation_input_tokens", None),
        }
        counts |= {name: count for name, count in found.items() if count}
    if not counts["prompt_tokens"] and not counts["completion_tokens"]:
        return None
    return Usage(
        TokenUsage(
            # As Converse counts: input tokens are those that the cache neither gave nor took.
            input_tokens=max(counts["prompt_tokens"] - counts["read"] - counts["write"], 0),
            output_tokens=counts["completion_tokens"],
            cache_read_input_tokens=counts["read"],
            cache_write_input_tokens=counts["write"],
        )
    )


def _count(target: Target, messages: Sequence[Json], tools: Sequence[Json], wrote: str) -> Usage:
    litellm = _litellm()
    read: int = litellm.token_counter(
        model=target.model, messages=list(messages), tools=list(tools) or None
    )
    written: int = litellm.token_counter(model=target.model, text=wrote) if wrote else 0
    return Usage(TokenUsage(input_tokens=read, output_tokens=written), counted=True)
