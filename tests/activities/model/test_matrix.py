"""Every family before the switch, every provider after it, in the middle of a tool loop.

Everything is the real thing but the models: what a provider streams goes through LiteLLM into the
store, and comes out of the store through LiteLLM to the next provider, which checks it as strictly
as the real one and answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from contracts.harness import RunConfig
from contracts.messages import Message, StopReason, TextBlock, ToolResultBlock, ToolStatus
from contracts.settings import Settings
from contracts.turn import ModelReply
from contracts.vault import ApiKeyProviderArn
from store import Store
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.session import SESSION, Session, run_config
from tests.providers.said import Said
from tests.providers.server import Asked, Providers, speaking

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

LOOKUP = {
    "type": "inline_function",
    "name": "lookup",
    "config": {
        "inlineFunction": {
            "description": "The weather of a city.",
            "inputSchema": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        }
    },
}
KEY_ARN = str(ApiKeyProviderArn("us-east-1", "0" * 12, "key"))
THINKING = {
    "maxTokens": 4096,
    "additionalParams": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
}


@dataclass(frozen=True)
class Model:
    """A configured model; `reads_back` says whether its own thoughts return to it sealed."""

    name: str
    protocol: str
    family: str
    config: dict[str, Any]
    reads_back: bool = True

    def __str__(self) -> str:
        return self.name


def openai(model_id: str, api_format: str) -> dict[str, Any]:
    own = {"modelId": model_id, "apiKeyArn": KEY_ARN, "apiFormat": api_format}
    return {"openAiModelConfig": own}


CLAUDE = Model(
    "claude",
    "anthropic",
    "claude",
    {"liteLlmModelConfig": {"modelId": "anthropic/claude-sonnet-4-5", **THINKING}},
)
BEDROCK = Model(
    "bedrock",
    "converse",
    "claude",
    {"bedrockModelConfig": {"modelId": "us.anthropic.claude-sonnet-4-5-v1:0", **THINKING}},
)
GEMINI = Model(
    "gemini",
    "gemini",
    "gemini",
    {"geminiModelConfig": {"modelId": "gemini-3.5-flash", "apiKeyArn": KEY_ARN}},
)
RESPONSES = Model("responses", "responses", "openai", openai("gpt-5.4", "responses"))
CHAT = Model("chat", "chat", "openai", openai("gpt-5.4", "chat_completions"), reads_back=False)
OTHER = Model(
    "mistral",
    "chat",
    "other",
    {"liteLlmModelConfig": {"modelId": "openai/mistral-large-latest"}},
    reads_back=False,
)
#: Seals its thoughts in Claude's form, so that only the family tells them apart.
LIKE_CLAUDE = Model(
    "minimax",
    "converse",
    "other",
    {"bedrockModelConfig": {"modelId": "minimax.minimax-m2"}},
    reads_back=False,
)

ORIGINS = [CLAUDE, GEMINI, RESPONSES, OTHER, LIKE_CLAUDE]
TARGETS = [CLAUDE, BEDROCK, GEMINI, CHAT, RESPONSES]


@dataclass
class Conversation:
    """A session whose invocations each bring the results of the calls before."""

    session: Session
    providers: Providers
    count: int = 0
    #: What each model is to say, in order.
    script: list[Said] = field(default_factory=list[Said])

    def run(self, model: Model) -> RunConfig:
        return run_config(model.config, tools=[LOOKUP], systemPrompt=[{"text": "Be brief."}])

    async def turn(self, model: Model, said: Said, *blocks: Any) -> ModelReply:
        """One invocation with one model call, ended to wait for the caller if it asks for tools."""
        store = self.session.store
        self.script.append(said)
        self.count += 1
        invocation_id = f"i-{self.count}"
        digest = await store.configs.put(self.run(model))
        await store.turns.admit(
            session=SESSION,
            account="0" * 12,
            harness_id="h-abcdefghij",
            runtime_session_id="s" * 33,
            invocation_id=invocation_id,
            request_digest=invocation_id,
            config_digest=digest,
            messages=[Message(role="user", blocks=blocks)],
        )
        self.session.seq = (await store.turns.open(SESSION, invocation_id)).seq
        reply = await self.session.call(0, invocation_id)
        await store.turns.hand_over(SESSION, invocation_id)
        await store.turns.close(SESSION, invocation_id, stop_reason=reply.stop_reason, error=None)
        return reply

    @property
    def last(self) -> Asked:
        return self.providers.asked[-1]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "test-key")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", f"{url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_BASE", url)
    monkeypatch.setenv("GEMINI_API_BASE", url)
    monkeypatch.setenv("AWS_BEDROCK_RUNTIME_ENDPOINT", url)


def results(reply: ModelReply, texts: Sequence[str]) -> list[ToolResultBlock]:
    return [
        ToolResultBlock(tool_use_id=call.id, status=ToolStatus.SUCCESS, content=(text,))
        for call, text in zip(reply.calls, texts, strict=True)
    ]


def asks(name: str, *cities: str) -> Said:
    """An answer with a sealed thought and parallel calls."""
    return Said(
        text=f"I am {name} and look.",
        thought=f"thought of {name}",
        calls=tuple(("lookup", {"city": city}) for city in cities),
        seal=f"seal of {name}",
    )


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("origin", ORIGINS, ids=str)
async def test_a_tool_loop_survives_a_switch_and_the_way_back(
    origin: Model, target: Model, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    script: list[Said] = []
    async with speaking(lambda _: script[-1]) as providers:
        point_at(providers.url, monkeypatch)
        talk = Conversation(
            Session(store, replace(settings, keys_from_env=True)), providers, script=script
        )

        first, second = asks("A", "Bern", "Basel"), asks("B", "Chur")
        asked = await talk.turn(origin, first, TextBlock(text="the weather?"))
        assert asked.stop_reason is StopReason.TOOL_USE

        again = await talk.turn(target, second, *results(asked, ["seven", "nine"]))
        assert again.stop_reason is StopReason.TOOL_USE
        assert talk.last.protocol == target.protocol
        everything = ["the weather?", "I am A and look.", "Bern", "Basel", "seven", "nine"]
        assert_in_order(talk.last.text, everything)
        # A chat server's own thoughts come without a seal and never go back.
        reads = origin.family == target.family and origin.reads_back and target.reads_back
        assert (first.sealed in talk.last.text) is reads
        assert reads or "thought of A" not in talk.last.text

        last = Said(text="Seven, nine and five degrees.")
        done = await talk.turn(origin, last, *results(again, ["five"]))
        assert done.stop_reason is StopReason.END_TURN
        assert_in_order(talk.last.text, [*everything, "I am B and look.", "Chur", "five"])
        assert (first.sealed in talk.last.text) is origin.reads_back
        assert (second.sealed in talk.last.text) is reads
    assert providers.faults == []
    ids = {call.id for reply in (asked, again) for call in reply.calls}
    assert len(ids) == 3


def assert_in_order(text: str, parts: Sequence[str]) -> None:
    places = [text.find(part) for part in parts]
    assert -1 not in places, dict(zip(parts, places, strict=True))
    assert places == sorted(places)
