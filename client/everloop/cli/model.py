"""The model that a user chose, as the API wants it."""

from collections.abc import Mapping
from enum import StrEnum

from everloop.cli.aws import Json
from everloop.cli.errors import UsageError

DEMO_MODEL = "demo/scripted"
DEMO_PREFIX = "demo/"
#: Variables whose presence means that some provider's key is at hand.
KEY_VARIABLES = (
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "ANTHROPIC_API_KEY",
    "AWS_BEARER_TOKEN_BEDROCK",
)


class Provider(StrEnum):
    """Whose model it is."""

    BEDROCK = "bedrock"
    OPEN_AI = "open_ai"
    GEMINI = "gemini"
    LITE_LLM = "lite_llm"
    DEMO = "demo"


#: Providers whose configuration must name a key. The service model asks for an ARN even where the
#: worker takes the key from its environment; then the provider's name in it is what counts.
_KEYED = {Provider.OPEN_AI: "openai", Provider.GEMINI: "gemini"}


def model_configuration(
    model: str | None,
    provider: Provider | None,
    *,
    api_key_arn: str | None = None,
    api_base: str | None = None,
    region: str,
) -> Json | None:
    """`HarnessModelConfiguration` for what the user chose; None leaves the API's default.

    Raises:
        UsageError: the choices do not fit each other.
    """
    if provider is None and model is not None:
        provider = Provider.DEMO if model.startswith(DEMO_PREFIX) else Provider.BEDROCK
    if provider is None:
        return None
    if provider is Provider.DEMO:
        model = model or DEMO_MODEL
        if not model.startswith(DEMO_PREFIX):
            raise UsageError(f"the demo model is called {DEMO_MODEL}, not {model}")
        return {"liteLlmModelConfig": {"modelId": model}}
    if model is None:
        if provider is Provider.BEDROCK:
            return None
        raise UsageError(f"--model-provider {provider} needs --model")
    return _configuration(model, provider, api_key_arn, api_base, region)


def _configuration(
    model: str, provider: Provider, api_key_arn: str | None, api_base: str | None, region: str
) -> Json:
    chosen: Json = {"modelId": model}
    if provider in _KEYED:
        chosen["apiKeyArn"] = api_key_arn or (
            f"arn:aws:bedrock-agentcore:{region}:000000000000:"
            f"token-vault/default/apikeycredentialprovider/{_KEYED[provider]}"
        )
    elif api_key_arn is not None:
        if provider is Provider.BEDROCK:
            raise UsageError("--api-key-arn does not go with a Bedrock model")
        chosen["apiKeyArn"] = api_key_arn
    if api_base is not None:
        if provider not in (Provider.OPEN_AI, Provider.LITE_LLM):
            raise UsageError(f"--api-base does not go with --model-provider {provider}")
        chosen["apiBase"] = api_base
    member = {
        Provider.BEDROCK: "bedrockModelConfig",
        Provider.OPEN_AI: "openAiModelConfig",
        Provider.GEMINI: "geminiModelConfig",
        Provider.LITE_LLM: "liteLlmModelConfig",
    }[provider]
    return {member: chosen}


def any_model_reachable(env: Mapping[str, str], *, aws_credentials: bool) -> bool:
    """Whether some provider could be called: AWS credentials or a provider's key are there."""
    return aws_credentials or any(env.get(name) for name in KEY_VARIABLES)
