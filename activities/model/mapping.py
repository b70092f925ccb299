"""Which model a configuration means, and how LiteLLM is asked for it. Pure.

Sources: the members of AWS's `HarnessModelConfiguration`, and LiteLLM's names of providers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from activities.model.keys import NO_KEY, Access
from contracts.errors import ModelFailed, ModelFault, invalid
from contracts.harness import BedrockModel, GeminiModel, LiteLlmModel, ModelConfig, OpenAiModel
from contracts.messages import Origin
from contracts.model_params import RESERVED_WHY, reserved_params
from contracts.settings import Settings

DEMO = "demo/"

_REGION_VARIABLES = ("AWS_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")

#: Parameters that say what an answer of the agent has to look like.
_FORM = frozenset({"tool_choice", "parallel_tool_calls", "response_format", "stop"})

#: LiteLLM sends models that its price list marks so, and newer GPT-5 with tools, to the Responses
#: API by itself; who chose chat completions has a server, or an account, that has only those.
_STAY_IN_CHAT: dict[str, Any] = {"_skip_responses_api_bridge": True}

_CLAUDE = re.compile(r"claude|anthropic", re.IGNORECASE)
_GEMINI = re.compile(r"gemini", re.IGNORECASE)
_OPENAI = re.compile(r"(?:^|[/.])(?:gpt-|o\d|chatgpt|codex)", re.IGNORECASE)
_REASONS = re.compile(r"(?:^|[/.])(?:gpt-[5-9](?!.*chat)|gpt-oss|o\d)", re.IGNORECASE)


class Thoughts(StrEnum):
    """How thoughts travel back to the family that had them."""

    #: `thinking_blocks` with their signatures: Claude, wherever it runs.
    BLOCKS = "blocks"
    #: `thought_signature` on tool calls: Gemini.
    SIGNATURES = "signatures"
    #: Encrypted reasoning items: OpenAI's Responses API.
    ITEMS = "items"
    #: They do not.
    NONE = "none"


@dataclass(frozen=True)
class Target:
    """A model, as LiteLLM is asked for it.

    Attributes:
        model: LiteLLM's name of it, `provider/...`.
        origin: the family that its answers come from.
        thoughts: how its own earlier thoughts are given back to it.
        parameters: further arguments of the call; they may hold a key, so they are never logged.
    """

    model: str
    origin: Origin
    thoughts: Thoughts = Thoughts.NONE
    parameters: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def provider(self) -> str:
        """The first part of the model's name."""
        return self.model.partition("/")[0]


def target_of(model: ModelConfig, settings: Settings, access: Access) -> Target:
    """Say how to ask for a configured model.

    Args:
        model: the union of the harness or the invocation.
        settings: where the demo model is, and the default region.
        access: the worker's environment, the vault's key, and where they may go.

    Raises:
        ModelFailed: the model cannot be called as things are set up; the message says why.
        ServiceError: `additionalParams` holds what it must not.
    """
    chosen = model.chosen
    match chosen:
        case BedrockModel():
            name, own = _bedrock(chosen, settings, access.env)
        case OpenAiModel():
            name, own = _openai(chosen, access)
        case GeminiModel():
            name, own = f"gemini/{chosen.model_id}", access.sent("gemini", None)
            if chosen.top_k is not None:
                own["top_k"] = chosen.top_k
        case LiteLlmModel():
            name, own = _litellm(chosen, settings, access)
    origin = origin_of(chosen.model_id)
    thoughts = _thoughts(name, origin)
    if thoughts is Thoughts.ITEMS:
        # Nothing is kept at the provider: what it needs to think on comes back to us, encrypted.
        own["store"] = False
        if _REASONS.search(name):
            own["include"] = ["reasoning.encrypted_content"]
    sampling = {
        "max_tokens": chosen.max_tokens,
        "temperature": chosen.temperature,
        "top_p": chosen.top_p,
    }
    given = {name: value for name, value in sampling.items() if value is not None}
    additional = _additional(chosen.additional_params or {})
    return Target(name, origin, thoughts, {**own, **given, **additional})


def plain(target: Target) -> Target:
    """The same model without what forces its answers into a form."""
    kept = {name: value for name, value in target.parameters.items() if name not in _FORM}
    return replace(target, parameters=kept)


def origin_of(model_id: str) -> Origin:
    """The family of a model, by its id."""
    for pattern, origin in (
        (_CLAUDE, Origin.CLAUDE),
        (_GEMINI, Origin.GEMINI),
        (_OPENAI, Origin.OPENAI),
    ):
        if pattern.search(model_id):
            return origin
    return Origin.OTHER


def _bedrock(
    model: BedrockModel, settings: Settings, env: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    region: dict[str, Any] = {}
    if not any(env.get(name) for name in _REGION_VARIABLES):
        region["aws_region_name"] = settings.region
    match model.api_format:
        case "responses":
            return f"bedrock_mantle/responses/{model.model_id}", region
        case "chat_completions":
            return f"bedrock_mantle/{model.model_id}", {**region, **_STAY_IN_CHAT}
        case _:
            return f"bedrock/converse/{model.model_id}", region


def _openai(model: OpenAiModel, access: Access) -> tuple[str, dict[str, Any]]:
    own = access.sent("openai", model.api_base)
    if model.api_format == "chat_completions":
        return f"openai/{model.model_id}", {**own, **_STAY_IN_CHAT}
    return f"openai/responses/{model.model_id}", own


def _litellm(model: LiteLlmModel, settings: Settings, access: Access) -> tuple[str, dict[str, Any]]:
    if model.model_id.startswith(DEMO):
        if settings.demo_model_url is None:
            raise ModelFailed(
                f"The model {model.model_id} is the scripted demo model, which does not run here. "
                "`everloop dev` starts it; elsewhere start `python -m activities.model.demo` and "
                "set EVERLOOP_DEMO_MODEL_URL, or choose another model.",
                fault=ModelFault.NOT_CONFIGURED,
            )
        demo = {"api_base": settings.demo_model_url, "api_key": NO_KEY}
        return f"openai/{model.model_id.removeprefix(DEMO)}", demo
    provider = model.model_id.partition("/")[0]
    return model.model_id, access.sent(provider, model.api_base)


def _thoughts(name: str, origin: Origin) -> Thoughts:
    if "/responses/" in name:
        return Thoughts.ITEMS
    if origin is Origin.CLAUDE:
        return Thoughts.BLOCKS
    return Thoughts.SIGNATURES if origin is Origin.GEMINI else Thoughts.NONE


def _additional(given: dict[str, Any]) -> dict[str, Any]:
    for name in reserved_params(given):
        raise invalid(f"model.additionalParams.{name}", RESERVED_WHY)
    return given
