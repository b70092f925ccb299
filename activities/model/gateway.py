"""The one door to model providers: LiteLLM, imported late, and what it streams, in our own words.

Importing LiteLLM takes seconds and 200 MB, so this module does not do it until `warm` or the first
call. Nothing of LiteLLM's leaves this file: chunks go out as `chunks` values, exceptions as they
are, for `failures` to judge by name and status.
"""

import asyncio
import importlib
import json
import logging
import os
import re
import warnings
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

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
from contracts.errors import ModelFailed, ModelFault
from contracts.messages import TokenUsage
from contracts.usage import PICO_USD_PER_USD

Json = dict[str, Any]

_log = logging.getLogger(__name__)

#: Parts of a model's name that say how it is asked and not which it is.
_BRIDGES = re.compile(r"(?<=/)(?:converse|responses)/")

#: Ends that providers name and OpenAI has no word for; `assemble` knows them.
_OWN_ENDS = (
    "stop_sequence",
    "model_context_window_exceeded",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "MALFORMED_RESPONSE",
    "network_error",
)

#: A chunk without anything in it, in LiteLLM's words.
_NOTHING: Json = {
    "text": "",
    "is_finished": False,
    "finish_reason": "",
    "usage": None,
    "index": 0,
    "tool_use": None,
}

#: Models whose entries in the price table are kept at hand; the table does not change.
PRICES_KEPT = 256

#: Seconds without a byte before a provider is given up: reasoning models are silent for minutes.
SILENCE_S = 600

#: What every call is made with.
CALL: Json = {
    "stream": True,
    "stream_options": {"include_usage": True},
    # Temporal owns retries: a second layer would multiply attempts and hide Retry-After.
    "num_retries": 0,
    "max_retries": 0,
    "timeout": SILENCE_S,
    # LiteLLM's own MCP gateway, which would import a package and look at every tool on each call.
    "_skip_mcp_handler": True,
}


async def load() -> None:
    """Import LiteLLM in a thread; a stream does so itself when this was not called."""
    await asyncio.to_thread(_litellm)


async def close() -> None:
    """Close the connections that LiteLLM keeps open, if it was ever imported."""
    if is_loaded():
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
        ModelFailed: the provider refused without telling why.
        Exception: whatever else LiteLLM or the transport raises.
    """
    litellm = _litellm() if is_loaded() else await asyncio.to_thread(_litellm)
    offered: Json = {"tools": list(tools)} if tools else {}
    response: Any = await litellm.acompletion(
        model=target.model, messages=list(messages), **offered, **target.parameters, **CALL
    )
    if response is None:
        # What LiteLLM returns when a second try without the parameters that a 422 named fails too.
        raise ModelFailed(
            "The model provider could not process the request (HTTP 422).", fault=ModelFault.REFUSED
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
                break
        if finish:
            yield await _usage(response) or _count(target, messages, tools, "".join(wrote))
    finally:
        await response.aclose()


def price(target: Target, usage: TokenUsage) -> int | None:
    """What a call cost by LiteLLM's price table, which comes with the package.

    Args:
        target: the model that was called; its price goes by its name, whatever server answered.
        usage: what the call used.

    Returns:
        Trillionths of a dollar, or None when the table has no price for the model. A price of
        nothing counts as none: the table has it where nobody entered one.
    """
    litellm = _litellm()
    name = _BRIDGES.sub("", target.model)
    entry = _price_entry(name)
    if entry is None:
        return None
    read, write = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    # Without a price of their own, cached tokens count as any others.
    kept_read = read if entry.get("cache_read_input_token_cost") is not None else 0
    kept_write = write if entry.get("cache_creation_input_token_cost") is not None else 0
    prompt = usage.input_tokens + read + write
    told: Any = litellm.Usage(
        prompt_tokens=prompt,
        completion_tokens=usage.output_tokens,
        total_tokens=prompt + usage.output_tokens,
        prompt_tokens_details={"cached_tokens": kept_read, "cache_creation_tokens": kept_write},
        cache_read_input_tokens=kept_read,
        cache_creation_input_tokens=kept_write,
    )
    try:
        asked, answered = litellm.cost_per_token(
            model=name.partition("/")[2], custom_llm_provider=target.provider, usage_object=told
        )
    except Exception as error:
        # The answer is complete; a table that cannot be read must not have it asked for again.
        _log.warning("no price for %s: %s", name, type(error).__name__)
        return None
    return round((asked + answered) * PICO_USD_PER_USD)


@lru_cache(maxsize=PRICES_KEPT)
def _price_entry(name: str) -> Json | None:
    litellm = _litellm()
    provider, _, model = name.partition("/")
    try:
        known: Any = litellm.get_model_info(model, custom_llm_provider=provider)
    except Exception as error:
        # How it says that it does not know a model, or not even the provider.
        _log.info("no price for %s: %s", name, type(error).__name__)
        return None
    entry: Json = litellm.model_cost.get(known["key"]) or {}
    priced = entry.get("input_cost_per_token"), entry.get("output_cost_per_token")
    return entry if None not in priced and any(priced) else None


def is_loaded() -> bool:
    """Whether LiteLLM has been imported."""
    return _litellm.cache_info().currsize > 0


@cache
def _litellm() -> Any:
    # Without it, the import fetches a price list from the network.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    # Without OpenAI's SDK between, which takes each message apart: most of a long call's time.
    os.environ["EXPERIMENTAL_OPENAI_BASE_LLM_HTTP_HANDLER"] = "True"
    chat: Any = importlib.import_module("litellm.llms.openai.chat.gpt_transformation")
    chat.OpenAIChatCompletionStreamingHandler._handle_string_chunk = _event
    # What goes wrong is raised to us; its own log lines would hold providers' words unredacted.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    # Of these ends it would make an ordinary "stop", and with it a cut answer a whole one.
    helpers: Any = importlib.import_module("litellm.litellm_core_utils.core_helpers")
    helpers._FINISH_REASON_MAP.update({reason: reason for reason in _OWN_ENDS})
    # Its bridge to the Responses API serialises half-filled models; pydantic warns on each chunk.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    return litellm


def _event(stream: Any, str_line: str) -> Any:
    """What a line of a stream in OpenAI's protocol says, in place of LiteLLM's own reading.

    That takes "[DONE]", be it in the middle of an answer, for the model's reason to stop.

    Raises:
        StopAsyncIteration: the stream says that it is over.
        ValueError: the line is broken.
    """
    field, _, data = str_line.partition(":")
    if field != "data":
        return _NOTHING
    if data.strip() == "[DONE]":
        raise StopAsyncIteration
    return stream.chunk_parser(json.loads(data))


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


async def _usage(response: Any) -> Usage | None:
    """What the provider said that the call cost, reading its stream to the end if need be.

    It is read here, under LiteLLM's wrapper: that would rebuild the whole response at the end, for
    callbacks which nobody has set, and double the time that it takes of a call.
    """
    told = [_counts(chunk) for chunk in getattr(response, "chunks", ())]
    if not any(told) and response.completion_stream is not None:
        try:
            told += [_counts(raw) async for raw in response.completion_stream]
        except Exception as error:
            # The answer is complete; a connection that breaks now only costs us the count.
            _log.info("no usage at the end of a stream: %s", type(error).__name__)
    # Anthropic tells in two parts; what is told later counts.
    counts: dict[str, int] = {}
    for part in told:
        counts |= part
    if not counts:
        return None
    read, write = counts.get("read", 0), counts.get("write", 0)
    return Usage(
        TokenUsage(
            # As Converse counts: input tokens are those that the cache neither gave nor took.
            input_tokens=max(counts.get("prompt", 0) - read - write, 0),
            output_tokens=counts.get("completion", 0),
            cache_read_input_tokens=read,
            cache_write_input_tokens=write,
        )
    )


def _counts(chunk: Any) -> dict[str, int]:
    usage = _member(chunk, "usage")
    if usage is None:
        return {}
    details = _member(usage, "prompt_tokens_details")
    found = {
        "prompt": _member(usage, "prompt_tokens"),
        "completion": _member(usage, "completion_tokens"),
        "read": _member(usage, "cache_read_input_tokens") or _member(details, "cached_tokens"),
        "write": _member(usage, "cache_creation_input_tokens"),
    }
    return {name: count for name, count in found.items() if count}


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    return getattr(value, name, None)


def _count(target: Target, messages: Sequence[Json], tools: Sequence[Json], wrote: str) -> Usage:
    litellm = _litellm()
    read: int = litellm.token_counter(
        model=target.model, messages=list(messages), tools=list(tools) or None
    )
    written: int = litellm.token_counter(model=target.model, text=wrote) if wrote else 0
    return Usage(TokenUsage(input_tokens=read, output_tokens=written), counted=True)
