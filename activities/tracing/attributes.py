"""What spans hold. Names are those of OpenTelemetry's conventions for generative AI.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/. What they have no name for begins with
`everloop.`; `session.id` is what AWS's own traces, and readers made for them, find a session by.
"""

from collections.abc import Mapping

from contracts.harness import ModelConfig, RunConfig
from contracts.ids import HarnessArn, runtime_session_id
from contracts.messages import StopReason, TokenUsage
from contracts.records import CallRecord, InvocationRecord

Attributes = dict[str, str | int | float]

#: The provider of an agent as a whole, whichever models it calls.
AGENT_PROVIDER = "everloop"

#: LiteLLM's names of providers that the conventions name otherwise.
_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_mantle": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


def provider_name(model: ModelConfig) -> str:
    """`gen_ai.provider.name` of a model's calls."""
    if model.bedrock_model_config:
        return "aws.bedrock"
    if model.open_ai_model_config:
        return "openai"
    if model.gemini_model_config:
        return "gcp.gemini"
    prefix = model.chosen.model_id.partition("/")[0]
    return _PROVIDERS.get(prefix, prefix)


def agent_name(run: RunConfig) -> str:
    """The name of an invocation's span."""
    return f"invoke_agent {run.harness_name}"


def agent_started(session: str, invocation_id: str, run: RunConfig) -> Attributes:
    """What an invocation's span holds from its start."""
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": AGENT_PROVIDER,
        "gen_ai.agent.name": run.harness_name,
        "gen_ai.agent.id": HarnessArn.parse(run.harness_arn).harness_id,
        "gen_ai.agent.version": run.harness_version,
        "gen_ai.request.model": run.config.model.chosen.model_id,
        # AWS's `service.name`. A worker serves every harness, so it cannot be the resource's.
        "everloop.service.name": f"harness_{run.harness_name}.DEFAULT",
        **_whose(session, invocation_id),
    }


def agent_ended(invocation: InvocationRecord) -> Attributes:
    """What is known of an invocation once it is over."""
    return usage(invocation.usage)


def chat_started(
    session: str, invocation_id: str, run: RunConfig, step: int, attempt: int
) -> Attributes:
    """What a model call's span holds from its start."""
    model = run.config.model
    asked: dict[str, int | float | None] = {
        "gen_ai.request.max_tokens": model.chosen.max_tokens,
        "gen_ai.request.temperature": model.chosen.temperature,
        "gen_ai.request.top_p": model.chosen.top_p,
    }
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider_name(model),
        "gen_ai.request.model": model.chosen.model_id,
        "gen_ai.agent.name": run.harness_name,
        "everloop.step": step,
        "everloop.attempt": attempt,
        **{name: value for name, value in asked.items() if value is not None},
        **_whose(session, invocation_id),
    }


def tool_started(session: str, invocation_id: str, run: RunConfig, call: CallRecord) -> Attributes:
    """What a tool call's span holds from its start."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.call.id": call.id,
        "gen_ai.tool.type": "function",
        "gen_ai.agent.name": run.harness_name,
        **_whose(session, invocation_id),
    }


def finish_reasons(stop_reason: StopReason | None) -> dict[str, list[str]]:
    """`gen_ai.response.finish_reasons`, in AWS's words."""
    return {"gen_ai.response.finish_reasons": [stop_reason.value]} if stop_reason else {}


def usage(spent: TokenUsage) -> Attributes:
    """Tokens; as the conventions count, the input includes what caches gave and took."""
    read, written = spent.cache_read_input_tokens, spent.cache_write_input_tokens
    return {
        "gen_ai.usage.input_tokens": spent.input_tokens + read + written,
        "gen_ai.usage.output_tokens": spent.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_creation.input_tokens": written,
    }


def _whose(session: str, invocation_id: str) -> Attributes:
    name = runtime_session_id(session)
    return {
        "gen_ai.conversation.id": name,
        "session.id": name,
        "everloop.invocation.id": invocation_id,
    }
