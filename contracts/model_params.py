"""Which `additionalParams` of a model configuration are refused.

They are for the model's own parameters. What would change what is asked, where, or with whose key
would let whoever may define a harness use the worker's credentials for something else.
"""

from collections.abc import Mapping
from typing import Any, cast

#: LiteLLM's names of what decides about the call itself.
RESERVED = frozenset(
    {
        "model", "messages", "tools", "functions", "stream", "stream_options", "n", "client",
        "api_key", "api_base", "base_url", "custom_llm_provider", "organization", "deployment_id",
        "num_retries", "max_retries", "fallbacks", "model_list", "timeout", "caching", "cache",
        "callbacks", "success_callback", "failure_callback", "headers", "proxy", "ssl_verify",
        "vertex_credentials", "acompletion", "input", "instructions",
    }
)  # fmt: skip
_RESERVED_PREFIXES = ("aws_", "azure_", "litellm_", "mock_", "_")
_OPEN_TO_ALL = frozenset({"aws_region_name", "aws_bedrock_project_id"})

#: Why such a name is refused, for the caller.
RESERVED_WHY = (
    "must not be set here: it decides what is sent, where to, or with whose key. "
    "additionalParams are for the model's own parameters."
)


def reserved_params(params: Mapping[str, Any]) -> list[str]:
    """The names among `params`, and in its `extra_body`, that must not be set."""
    body = params.get("extra_body")
    inner = list(cast("Mapping[str, Any]", body)) if isinstance(body, Mapping) else []
    return [name for name in [*params, *inner] if _is_reserved(name)]


def _is_reserved(name: str) -> bool:
    if name in _OPEN_TO_ALL:
        return False
    return name in RESERVED or name.startswith(_RESERVED_PREFIXES)
