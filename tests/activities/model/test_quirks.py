"""What providers do at the edges, each in its own protocol: ends, overflows, garbled arguments."""

import json
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.model import gateway
from api.eventstream import event
from contracts.errors import ErrorType
from contracts.messages import StopReason, TextBlock, ToolStatus
from contracts.settings import Settings
from contracts.turn import ModelReply
from contracts.vault import ApiKeyProviderArn
from store import Store
from tests.activities.model import replay
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import Reply, call_delta, chat, chat_chunk, replaying, sse
from tests.activities.model.session import INVOCATION, SESSION, Session, at, run_config

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

KEY_ARN = str(ApiKeyProviderArn("us-east-1", "0" * 12, "key"))
MODELS: dict[str, dict[str, Any]] = {
    "anthropic": {"liteLlmModelConfig": {"modelId": "anthropic/claude-sonnet-4-5"}},
    "converse": {"bedrockModelConfig": {"modelId": "amazon.nova-pro-v1:0"}},
    "gemini": {"geminiModelConfig": {"modelId": "gemini-2.5-flash", "apiKeyArn": KEY_ARN}},
    "chat": {
        "openAiModelConfig": {
            "modelId": "gpt-4.1",
            "apiKeyArn": KEY_ARN,
            "apiFormat": "chat_completions",
        }
    },
    "responses": {"openAiModelConfig": {"modelId": "gpt-5", "apiKeyArn": KEY_ARN}},
}


@pytest.fixture
def session(store: Store, settings: Settings) -> Session:
    return Session(store, replace(settings, keys_from_env=True))


async def answered(
    session: Session, protocol: str, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> ModelReply:
    """One call of the protocol's model, whose provider gives this reply."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "test-key")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    async with replaying(reply) as provider:
        for name in ("ANTHROPIC_API_BASE", "GEMINI_API_BASE", "AWS_BEDROCK_RUNTIME_ENDPOINT"):
            monkeypatch.setenv(name, provider.url)
        monkeypatch.setenv("OPENAI_API_BASE", f"{provider.url}/v1")
        await session.open(run_config(MODELS[protocol]), "hi")
        return await session.call()


def anthropic(stop: str) -> Reply:
    text = ({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hal"})
    return replay.anthropic(text, stop=stop)


def converse(stop: str) -> Reply:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    events: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hal"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": stop}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    ]
    pieces = tuple(event(name, payload) for name, payload in events)
    return Reply(pieces, content_type="application/vnd.amazon.eventstream")


def gemini(stop: str) -> Reply:
    candidate = {"content": {"role": "model", "parts": [{"text": "Hal"}]}, "finishReason": stop}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
    return Reply(sse({"candidates": [candidate], "usageMetadata": usage}))


def responses(reason: str) -> Reply:
    content = {"type": "output_text", "text": "Hal", "annotations": list[object]()}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [content]}
    delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "Hal"}
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5",
        "status": "incomplete",
        "incomplete_details": {"reason": reason},
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": list[object](),
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    }
    return Reply(
        replay.named_sse(
            {"type": "response.created", "sequence_number": 0, "response": response},
            {"type": "response.output_text.delta", "sequence_number": 1, **delta},
            {"type": "response.incomplete", "sequence_number": 2, "response": response},
        )
    )


@pytest.mark.wire(
    "stop.max_tokens", "stop.stop_sequence", "stop.content_filtered", "stop.malformed_tool_use"
)
@pytest.mark.parametrize(
    ("protocol", "reply", "reason"),
    [
        ("anthropic", anthropic("max_tokens"), StopReason.MAX_TOKENS),
        ("anthropic", anthropic("stop_sequence"), StopReason.STOP_SEQUENCE),
        ("anthropic", anthropic("refusal"), StopReason.CONTENT_FILTERED),
        (
            "anthropic",
            anthropic("model_context_window_exceeded"),
            StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED,
        ),
        ("converse", converse("max_tokens"), StopReason.MAX_TOKENS),
        ("converse", converse("stop_sequence"), StopReason.STOP_SEQUENCE),
        ("converse", converse("content_filtered"), StopReason.CONTENT_FILTERED),
        ("converse", converse("guardrail_intervened"), StopReason.CONTENT_FILTERED),
        (
            "converse",
            converse("model_context_window_exceeded"),
            StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED,
        ),
        ("gemini", gemini("MAX_TOKENS"), StopReason.MAX_TOKENS),
        ("gemini", gemini("SAFETY"), StopReason.CONTENT_FILTERED),
        ("gemini", gemini("PROHIBITED_CONTENT"), StopReason.CONTENT_FILTERED),
        ("gemini", gemini("MALFORMED_FUNCTION_CALL"), StopReason.MALFORMED_TOOL_USE),
        ("chat", chat({"content": "Hal"}, finish="length"), StopReason.MAX_TOKENS),
        ("chat", chat({"content": "Hal"}, finish="content_filter"), StopReason.CONTENT_FILTERED),
        ("responses", responses("max_output_tokens"), StopReason.MAX_TOKENS),
        ("responses", responses("content_filter"), StopReason.CONTENT_FILTERED),
    ],
)
async def test_each_end_of_a_provider_has_its_stop_reason(
    session: Session,
    protocol: str,
    reply: Reply,
    reason: StopReason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = await answered(session, protocol, reply, monkeypatch)
    assert told.stop_reason is reason
    message = await session.store.transcript.message(SESSION, told.seq)
    assert message.blocks == (TextBlock(text="Hal"),)


def refused(body: dict[str, Any], **headers: str) -> Reply:
    return Reply(
        (json.dumps(body).encode(),),
        status=400,
        content_type="application/json",
        headers=tuple(headers.items()),
    )


def openai_error(message: str) -> dict[str, Any]:
    code = "context_length_exceeded"
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


@pytest.mark.parametrize(
    ("protocol", "reply"),
    [
        (
            "anthropic",
            refused(
                {
                    "type": "error",
                    "error": {
                        "type": "invalid_request_error",
                        "message": "prompt is too long: 210000 tokens > 200000 maximum",
                    },
                }
            ),
        ),
        (
            "converse",
            refused(
                {"message": "Input is too long for requested model."},
                **{"x-amzn-ErrorType": "ValidationException"},
            ),
        ),
        (
            "gemini",
            refused(
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (1200000) exceeds the maximum number of "
                        "tokens allowed (1048576).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ),
        ),
        (
            "chat",
            refused(
                openai_error(
                    "This model's maximum context length is 128000 tokens. However, your messages "
                    "resulted in 130000 tokens."
                )
            ),
        ),
        (
            "responses",
            refused(
                openai_error(
                    "Your input exceeds the context window of this model. Please adjust your input "
                    "and try again."
                )
            ),
        ),
    ],
)
async def test_each_providers_overflow_is_known(
    session: Session, protocol: str, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await answered(session, protocol, reply, monkeypatch)
    assert told.stop_reason is StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED


@pytest.mark.parametrize("protocol", list(MODELS))
async def test_each_providers_rate_limit_says_when_to_come_back(
    session: Session, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"error": {"message": "slow down", "type": "rate_limit_error"}, "message": "slow down"}
    reply = Reply((json.dumps(body).encode(),), 429, "application/json", (("retry-after", "7"),))
    with pytest.raises(ApplicationError) as raised:
        await answered(session, protocol, reply, monkeypatch)
    assert raised.value.type == ErrorType.MODEL_UNAVAILABLE
    assert raised.value.details == ("rate_limited",)
    delay = raised.value.next_retry_delay
    assert delay is not None and delay.total_seconds() == 7


@pytest.mark.parametrize(
    "reply", [Reply(hold=True), Reply(sse(chat_chunk({"content": "a"})), hold=True)]
)
async def test_a_provider_that_falls_silent_is_given_up_and_tried_again(
    session: Session, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gateway.CALL, "timeout", 0.3)
    with pytest.raises(ApplicationError) as raised:
        await answered(session, "chat", reply, monkeypatch)
    assert raised.value.type == ErrorType.MODEL_UNAVAILABLE
    assert not raised.value.non_retryable
    assert raised.value.details == ("timed_out",)


def shell(arguments: str) -> Reply:
    opened = call_delta(0, id="c", name="shell")
    return chat(opened, call_delta(0, arguments=arguments), finish="tool_calls")


GARBLED = '{"command": "ls'
GOOD = '{"command": "ls"}'


async def ends(session: Session, *arguments: str) -> list[StopReason]:
    """The stop reasons of a loop whose calls have these arguments."""
    reasons: list[StopReason] = []
    async with replaying(*(shell(text) for text in arguments)) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        for step in range(len(arguments)):
            reply = await session.call(step)
            reasons.append(reply.stop_reason)
            if reply.stop_reason is StopReason.TOOL_USE:
                await session.answer(reply)
    return reasons


@pytest.mark.wire("stop.malformed_tool_use")
@pytest.mark.parametrize("bad", [GARBLED, "[1]", "", "{}"])
async def test_arguments_garbled_twice_in_a_row_end_the_turn(session: Session, bad: str) -> None:
    assert await ends(session, bad, bad) == [
        StopReason.TOOL_USE,
        StopReason.MALFORMED_TOOL_USE,
    ]
    settled = (await session.store.turns.begin_step(SESSION, INVOCATION, 1)).settled
    assert settled is not None and settled.stop_reason is StopReason.MALFORMED_TOOL_USE


async def test_one_round_to_mend_them_is_given_each_time(session: Session) -> None:
    reasons = await ends(session, GARBLED, GOOD, GARBLED, GOOD)
    assert reasons == [StopReason.TOOL_USE] * 4


async def test_arguments_that_only_do_not_fit_may_be_tried_on(session: Session) -> None:
    wrong = '{"command": 1}'
    assert await ends(session, wrong, wrong, wrong) == [StopReason.TOOL_USE] * 3


@pytest.mark.wire("session.continues", "session.without-memory")
async def test_a_turn_that_ended_so_leaves_a_session_that_goes_on(session: Session) -> None:
    await ends(session, GARBLED, GARBLED)
    turns = session.store.turns
    await turns.close(SESSION, INVOCATION, stop_reason=StopReason.MALFORMED_TOOL_USE, error=None)
    async with replaying(shell(GARBLED)) as provider:
        await session.open(run_config(at(provider.url)), "try again", "i-2")
        reply = await session.call(0, "i-2")
    # Words of the user are a new beginning.
    assert reply.stop_reason is StopReason.TOOL_USE
    said = provider.requests[0].body["messages"][1:]
    roles = [message["role"] for message in said]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "user"]
    assert all("not valid JSON" in m["content"] for m in said if m["role"] == "tool")
    stored = await session.store.calls.get(SESSION, said[1]["tool_calls"][0]["id"])
    assert stored.status is ToolStatus.ERROR
