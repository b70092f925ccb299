"""What a call costs, by the price table that comes with LiteLLM."""

import importlib
from typing import Any

import pytest

from activities.model import gateway
from activities.model.mapping import Target
from contracts.messages import Origin, StopReason, TokenUsage
from contracts.settings import Settings
from store import Store
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import chat, error, replaying
from tests.activities.model.session import INVOCATION, SESSION, Session, run_config

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

USED = TokenUsage(
    input_tokens=1000, output_tokens=100, cache_read_input_tokens=400, cache_write_input_tokens=200
)


def table(name: str) -> dict[str, Any]:
    litellm: Any = importlib.import_module("litellm")
    return litellm.model_cost[name]


def price(model: str, usage: TokenUsage = USED) -> int | None:
    return gateway.price(Target(model, Origin.OTHER), usage)


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"),
        (
            "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
    ],
)
def test_each_kind_of_token_has_its_price(model: str, entry: str) -> None:
    costs = table(entry)
    expected = (
        1000 * costs["input_cost_per_token"]
        + 100 * costs["output_cost_per_token"]
        + 400 * costs["cache_read_input_token_cost"]
        + 200 * costs["cache_creation_input_token_cost"]
    )
    assert price(model) == round(expected * 10**12) > 0


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("openai/gpt-5.4", "gpt-5.4"),
        ("openai/responses/gpt-5.4", "gpt-5.4"),
        ("gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash"),
    ],
)
def test_writes_to_a_cache_without_a_price_cost_as_much_as_other_tokens(
    model: str, entry: str
) -> None:
    costs = table(entry)
    expected = (
        1200 * costs["input_cost_per_token"]
        + 100 * costs["output_cost_per_token"]
        + 400 * costs["cache_read_input_token_cost"]
    )
    assert price(model) == round(expected * 10**12)


@pytest.mark.parametrize(
    "model",
    ["openai/m", "openai/scripted", "nobody/has-this", "ollama/llama2", "groq/no-such-model"],
)
def test_an_unknown_price_is_not_zero(model: str) -> None:
    assert price(model) is None


async def test_the_cost_is_stored_with_the_step(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    session = Session(store, settings)
    async with replaying(chat({"content": "a"})) as provider:
        model = {"liteLlmModelConfig": {"modelId": "openai/gpt-4.1", "apiBase": provider.url}}
        await session.open(run_config(model), "hi")
        await session.call()
    (call,) = await store.usage.calls(SESSION, INVOCATION)
    costs = table("gpt-4.1")
    expected = (
        8 * costs["input_cost_per_token"]
        + 3 * costs["cache_read_input_token_cost"]
        + 7 * costs["output_cost_per_token"]
    )
    assert call.usage.cost_pico_usd == round(expected * 10**12)
    assert call.model_id == "openai/gpt-4.1"


async def test_an_unknown_price_is_stored_as_unknown_and_a_refusal_as_free(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    session = Session(store, settings)
    overflow = error(400, "maximum context length is 9 tokens")
    async with replaying(chat({"content": "a"}), overflow) as provider:
        model = {"liteLlmModelConfig": {"modelId": "openai/m", "apiBase": provider.url}}
        await session.open(run_config(model), "hi")
        session.seq = (await session.call()).seq
        reply = await session.call(1)
    assert reply.stop_reason is StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED
    unknown, free = await store.usage.calls(SESSION, INVOCATION)
    assert (unknown.usage.cost_pico_usd, unknown.usage.unpriced_calls) == (None, 1)
    assert (free.usage.cost_pico_usd, free.usage.tokens) == (0, TokenUsage())
