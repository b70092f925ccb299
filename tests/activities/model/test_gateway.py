"""Providers' real protocols through LiteLLM, from a server that replays them."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from activities.model import gateway
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
from activities.model.keys import Access
from activities.model.mapping import Target, Thoughts, target_of
from contracts.harness import ModelConfig
from contracts.messages import Origin, TokenUsage
from contracts.settings import Settings
from tests.activities.model import replay
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import Reply, call_delta, chat, chat_chunk, replaying, sse

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

HI = [{"role": "user", "content": "hi"}]
SHELL = [
    {
        "type": "function",
        "function": {
            "name": "shell",
            "description": "Runs.",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    }
]


def target(model: str, url: str, **parameters: Any) -> Target:
    own = {"api_base": url, "api_key": "k", **parameters}
    return Target(model, Origin.OTHER, Thoughts.NONE, own)


async def collect(stream: AsyncGenerator[Chunk]) -> list[Chunk]:
    async with aclosing(stream) as chunks:
        return [chunk async for chunk in chunks]


async def said(model: str, reply: Reply, **parameters: Any) -> list[Chunk]:
    async with replaying(reply) as provider:
        chosen = target(model, provider.url, **parameters)
        return await collect(gateway.stream(chosen, HI, SHELL))


async def test_openai_chat_with_parallel_calls() -> None:
    reply = chat(
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"content": "b"},
        call_delta(0, id="c1", name="shell"),
        call_delta(0, arguments='{"command"'),
        call_delta(1, id="c2", name="shell", arguments="{}"),
        call_delta(0, arguments=':"x"}'),
        finish="tool_calls",
    )
    assert await said("openai/m", reply) == [
        Reasoning("hm"),
        Text("a"),
        Text("b"),
        CallOpened(0, "c1", "shell"),
        CallInput(0, '{"command"'),
        CallOpened(1, "c2", "shell"),
        CallInput(1, "{}"),
        CallInput(0, ':"x"}'),
        Finish("tool_calls"),
        Usage(TokenUsage(input_tokens=8, output_tokens=7, cache_read_input_tokens=3)),
    ]


async def test_the_request_is_what_we_asked_for() -> None:
    async with replaying(chat({"content": "a"})) as provider:
        chosen = target("openai/m", provider.url, temperature=0.5)
        await collect(gateway.stream(chosen, HI, SHELL))
    (request,) = provider.requests
    assert request.path == "/chat/completions"
    assert request.headers["authorization"] == "Bearer k"
    assert request.body == {
        "model": "m",
        "messages": HI,
        "tools": SHELL,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.wire("stream.cached-usage")
async def test_anthropic_thoughts_with_their_seals() -> None:
    reply = replay.anthropic(
        (
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "signature_delta", "signature": "SIG=="},
        ),
        ({"type": "redacted_thinking", "data": "UkVE"},),
        ({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hello"}),
        (
            {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"command":'},
            {"type": "input_json_delta", "partial_json": '"ls"}'},
        ),
        ({"type": "tool_use", "id": "toolu_2", "name": "shell", "input": {}},),
        stop="tool_use",
    )
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert await said("anthropic/claude-sonnet-4-5", reply, thinking=thinking) == [
        Reasoning("hm"),
        Signature("SIG=="),
        Redacted("UkVE"),
        Text("Hello"),
        CallOpened(0, "toolu_1", "shell"),
        CallInput(0, '{"command":'),
        CallInput(0, '"ls"}'),
        CallOpened(1, "toolu_2", "shell"),
        Finish("tool_calls"),
        Usage(
            TokenUsage(
                input_tokens=20,
                output_tokens=30,
                cache_read_input_tokens=5,
                cache_write_input_tokens=2,
            )
        ),
    ]


async def test_gemini_signatures_on_calls() -> None:
    reply = replay.gemini(
        [{"text": "pondering", "thought": True}],
        [{"text": "Hey"}],
        [
            {
                "functionCall": {"name": "shell", "args": {"command": "ls"}},
                "thoughtSignature": "R1NJRw==",
            },
            {"functionCall": {"name": "shell", "args": {}}},
        ],
    )
    chunks = await said("gemini/gemini-2.5-flash", reply)
    opened = [chunk for chunk in chunks if isinstance(chunk, CallOpened)]
    assert [call.opaque for call in opened] == [{"thought_signature": "R1NJRw=="}, None]
    assert [chunk for chunk in chunks if isinstance(chunk, Text | Reasoning)] == [
        Reasoning("pondering"),
        Text("Hey"),
    ]
    assert Opaque("thought_signatures", ("R1NJRw==",)) in chunks
    assert chunks[-1] == Usage(
        TokenUsage(input_tokens=6, output_tokens=8, cache_read_input_tokens=3)
    )


async def test_openai_responses_with_encrypted_reasoning() -> None:
    pytest.importorskip("mcp", reason="LiteLLM's Responses bridge imports it")
    thought: replay.Json = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "encrypted_content": "ENC",
    }
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_9",
        "name": "shell",
        "arguments": '{"command":"ls"}',
        "status": "completed",
    }
    fragment = {"item_id": "fc_1", "output_index": 1}
    deltas: list[replay.Json] = [
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**call, "arguments": ""},
        },
        {"type": "response.function_call_arguments.delta", **fragment, "delta": '{"command":'},
        {"type": "response.function_call_arguments.delta", **fragment, "delta": '"ls"}'},
        {"type": "response.output_item.done", "output_index": 1, "item": call},
    ]
    async with replaying(replay.responses(thought, call, deltas=deltas)) as provider:
        own = {"store": False, "include": ["reasoning.encrypted_content"]}
        chosen = target("openai/responses/gpt-5", f"{provider.url}/v1", **own)
        chunks = await collect(gateway.stream(chosen, HI, SHELL))
    (request,) = provider.requests
    assert request.path == "/v1/responses"
    assert request.body["store"] is False
    assert request.body["include"] == ["reasoning.encrypted_content"]
    arguments = "".join(chunk.fragment for chunk in chunks if isinstance(chunk, CallInput))
    assert arguments == '{"command":"ls"}'
    (kept,) = [chunk for chunk in chunks if isinstance(chunk, Opaque)]
    assert kept.name == "reasoning_items"
    assert kept.items[0]["encrypted_content"] == "ENC"
    assert chunks[-1] == Usage(
        TokenUsage(input_tokens=6, output_tokens=8, cache_read_input_tokens=4)
    )


@pytest.mark.parametrize(
    "union",
    [
        {"openAiModelConfig": {"modelId": "gpt-5.4", "apiKeyArn": "arn:aws:iam::x"}},
        {"bedrockModelConfig": {"modelId": "openai.gpt-5.5"}},
    ],
    ids=["openai", "bedrock"],
)
async def test_a_chosen_chat_format_stays_with_chat_completions(
    union: dict[str, dict[str, Any]], settings: Settings
) -> None:
    (member,) = union.values()
    # With tools and an effort, LiteLLM would move both to the Responses API.
    member |= {"apiFormat": "chat_completions", "additionalParams": {"reasoning_effort": "low"}}
    async with replaying(chat({"content": "a"})) as provider:
        env = {"OPENAI_API_KEY": "k", "AWS_REGION": "us-east-1"}
        chosen = target_of(ModelConfig.model_validate(union), settings, Access(env))
        own = {**chosen.parameters, "api_base": f"{provider.url}/v1", "api_key": "k"}
        await collect(gateway.stream(replace(chosen, parameters=own), HI, SHELL))
    assert [request.path for request in provider.requests] == ["/v1/chat/completions"]


async def test_usage_is_counted_when_the_provider_does_not_tell() -> None:
    *_, usage = await said("openai/m", chat({"content": "one two three"}, usage=False))
    assert isinstance(usage, Usage) and usage.counted
    assert usage.usage.input_tokens > 0
    assert usage.usage.output_tokens == 3


async def test_a_stream_without_a_finish_reason_yields_none() -> None:
    chunks = await said("openai/m", chat({"content": "a"}, finish=None, usage=False))
    assert chunks == [Text("a")]


async def test_an_answer_may_speak_of_the_end_of_a_stream() -> None:
    answer = chat({"content": "data: [DONE] ends"}, {"content": " it"}, finish="stop", usage=False)
    chunks = await said("openai/m", answer)
    assert chunks[:3] == [Text("data: [DONE] ends"), Text(" it"), Finish("stop")]


async def test_a_stream_with_a_broken_event_raises_after_what_came() -> None:
    seen: list[Chunk] = []
    pieces = (*sse(chat_chunk({"content": "a"})), b'data: {"choices": [\n\n')
    async with replaying(Reply(pieces)) as provider:
        with pytest.raises(Exception, match="litellm"):
            async for chunk in gateway.stream(target("openai/m", provider.url), HI, ()):
                seen += [chunk]
    assert seen == [Text("a")]


async def test_a_cut_stream_raises_after_what_came() -> None:
    seen: list[Chunk] = []
    async with replaying(Reply(sse(chat_chunk({"content": "a"})), cut=True)) as provider:
        with pytest.raises(Exception, match="litellm"):
            stream = gateway.stream(target("openai/m", provider.url), HI, ())
            async for chunk in stream:
                seen += [chunk]
    assert seen == [Text("a")]


async def test_leaving_early_ends_the_providers_stream() -> None:
    async with replaying(Reply(sse(chat_chunk({"content": "a"})), hold=True)) as provider:
        async with aclosing(gateway.stream(target("openai/m", provider.url), HI, ())) as chunks:
            assert await anext(chunks) == Text("a")
        await asyncio.wait_for(provider.left.wait(), 5)


async def test_the_demo_model_through_the_gateway(demo_url: str) -> None:
    asked = [{"role": "user", "content": "Run the shell command `date`."}]
    chunks = await collect(gateway.stream(target("openai/scripted", demo_url), asked, SHELL))
    arguments = "".join(chunk.fragment for chunk in chunks if isinstance(chunk, CallInput))
    assert arguments == '{"command": "date"}'
    assert sum(isinstance(chunk, CallInput) for chunk in chunks) > 1
    assert chunks[-2] == Finish("tool_calls")
    assert isinstance(chunks[-1], Usage) and not chunks[-1].counted


def test_nothing_here_imports_litellm_before_it_is_needed() -> None:
    modules = (
        "assemble call checks chunks failures gateway mapping translate window writer "
        "demo.server demo.__main__"
    )
    names = [f"activities.model.{name}" for name in modules.split()]
    script = (
        f"import sys\nfor name in {names}: __import__(name)\nassert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
