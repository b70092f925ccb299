"""Whose key a model call is made with, and where it may go.

A key of the vault is the caller's choice by its ARN, and goes where the caller says. A key of the
worker's environment is the operator's: it goes to the provider itself, to the server that the
operator put in its place, or to a base URL that the operator allows; never to one that only a
caller named, because a caller could name a server of their own to read it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.errors import (
    AwsError,
    KeyRingAway,
    KeyRingFault,
    ModelFailed,
    ModelFault,
    SecretUnreadable,
    ServiceError,
)
from contracts.harness import BedrockModel, LiteLlmModel, ModelConfig
from contracts.settings import Settings
from contracts.vault import ApiKeyProviderArn
from store import Store

_log = logging.getLogger(__name__)

#: Sent where a server wants some key and none is configured: keyless OpenAI-compatible servers.
NO_KEY = "none"

#: The name under which the call's own key joins the secrets that are taken out of texts.
VAULT_KEY = "VAULT_API_KEY"

#: The variables of the worker's environment that hold a provider's key, as LiteLLM names them.
KEY_VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
}
_BASE_VARIABLES = {
    "openai": ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
    "anthropic": ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
    "gemini": ("GEMINI_API_BASE",),
    "mistral": ("MISTRAL_API_BASE",),
}

#: LiteLLM's providers that send nothing of the worker's when they are given a key, as a test over
#: each of them shows. Others sign or authorise by the worker's cloud credentials all the same.
KEY_ALONE = frozenset(
    {
        "anthropic", "cerebras", "custom_openai", "dashscope", "deepinfra", "deepseek",
        "docker_model_runner", "fireworks_ai", "github", "groq", "hosted_vllm", "huggingface",
        "litellm_proxy", "llamafile", "lm_studio", "mistral", "moonshot", "nebius", "nvidia_nim",
        "ollama", "ollama_chat", "openai", "openrouter", "perplexity", "sambanova", "together_ai",
        "vercel_ai_gateway", "xai",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Access:
    """What a call may use.

    Attributes:
        env: the worker's environment, which holds the operator's keys.
        key: the key that the configuration's `apiKeyArn` names; None when it names none.
        keyed_bases: base URLs that may get the environment's keys.
    """

    env: Mapping[str, str] = field(repr=False)
    key: str | None = field(default=None, repr=False)
    keyed_bases: frozenset[str] = frozenset()

    def secrets(self) -> Mapping[str, str]:
        """Everything that must be taken out of texts, by names that say so."""
        return self.env if self.key is None else {**self.env, VAULT_KEY: self.key}

    def sent(self, provider: str, api_base: str | None) -> dict[str, Any]:
        """LiteLLM's arguments for where to, and with what key; it reads the environment itself.

        Args:
            provider: LiteLLM's name of it.
            api_base: the server that the configuration names.

        Raises:
            ModelFailed: there is no key, or the server must not have what would be sent.
        """
        if api_base is None:
            return self._to_provider(provider)
        if _plain(api_base) in self.keyed_bases:
            key = {} if self._has_key(provider) else {"api_key": NO_KEY}
            return {"api_base": api_base, **key, **self._own_key()}
        if provider not in KEY_ALONE:
            raise ModelFailed(
                f"With an apiBase, models of {provider} would be sent the worker's own credentials."
                " An operator can allow that for a server with EVERLOOP_KEYED_API_BASES.",
                fault=ModelFault.NOT_CONFIGURED,
            )
        return {"api_base": api_base, "api_key": self.key or NO_KEY}

    def _to_provider(self, provider: str) -> dict[str, Any]:
        if self.key is not None or self._has_key(provider):
            return self._own_key()
        if any(self.env.get(name) for name in _BASE_VARIABLES.get(provider, ())):
            return {"api_key": NO_KEY}
        if provider in KEY_VARIABLES:
            raise ModelFailed(
                f"The worker has no key for {provider}: set {KEY_VARIABLES[provider][0]} in its "
                "environment, or name one of the vault by apiKeyArn.",
                fault=ModelFault.NOT_CONFIGURED,
            )
        return {}

    def _own_key(self) -> dict[str, Any]:
        return {} if self.key is None else {"api_key": self.key}

    def _has_key(self, provider: str) -> bool:
        usual = (f"{provider.upper().replace('-', '_')}_API_KEY",)
        return any(self.env.get(name) for name in KEY_VARIABLES.get(provider, usual))


async def access_for(
    model: ModelConfig, store: Store, settings: Settings, env: Mapping[str, str]
) -> Access:
    """Find out what a call of a model may use; the vault is asked anew for every call.

    Args:
        model: the union of the harness or the invocation.
        store: has the vault.
        settings: the account, and what an operator allows.
        env: the worker's environment.

    Raises:
        ModelFailed: the key that the model's `apiKeyArn` names cannot be had; the message names
            the ARN. It is final, save while KMS cannot be reached.
    """
    bases = frozenset(_plain(base) for base in settings.keyed_api_bases)
    return Access(env, await _key(model, store, settings), bases)


async def _key(model: ModelConfig, store: Store, settings: Settings) -> str | None:
    chosen = model.chosen
    if isinstance(chosen, BedrockModel) or chosen.api_key_arn is None:
        return None
    arn = ApiKeyProviderArn.parse(chosen.api_key_arn)
    try:
        if arn.account == settings.account:
            return await store.api_keys.reveal(arn)
        why = f"it belongs to account {arn.account}, and this Everloop serves {settings.account}."
    except SecretUnreadable as error:
        _log.error("%s", error)
        raise _unusable(arn, "the vault cannot read its key; update the provider.") from None
    except KeyRingAway as error:
        _log.warning("the vault cannot be used now: %s", error)
        why = "the worker's key ring cannot be reached now."
        raise _unusable(arn, why, ModelFault.UNAVAILABLE) from None
    except KeyRingFault as error:
        _log.error("the vault cannot be used: %s", error)
        raise _unusable(arn, "the worker has no usable key ring; its log says why.") from None
    except ServiceError as error:
        if error.detail.error is not AwsError.NOT_FOUND:
            raise
        why = "no credential provider of that name exists in the vault."
    # AWS's model demands an ARN of these, also where an operator has put the keys elsewhere.
    if settings.keys_from_env and not isinstance(chosen, LiteLlmModel):
        return None
    raise _unusable(arn, why)


def _unusable(
    arn: ApiKeyProviderArn, why: str, fault: ModelFault = ModelFault.NOT_CONFIGURED
) -> ModelFailed:
    return ModelFailed(f"The apiKeyArn {arn} cannot be used: {why}", fault=fault)


def _plain(base: str) -> str:
    return base.strip().rstrip("/")
