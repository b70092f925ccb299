"""An agent's definition, shaped and named as `CreateHarness` and `InvokeHarness` write it.

The wire layer has already checked types, patterns and bounds against AWS's service model; these
models add what that model does not say: defaults, and rules across fields.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from contracts.agents import Lineage
from contracts.authorizer import AuthorizerConfiguration
from contracts.base import WireValue
from contracts.errors import invalid
from contracts.extensions import HarnessExtensions
from contracts.tools import OUTPUT_TOOL

#: AWS's default model when a harness names none (GetHarness shows it).
DEFAULT_MODEL_ID = "global.anthropic.claude-sonnet-4-6"
#: AWS does not document its own; this is the text its export and its CLI carry.
DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."
DEFAULT_MAX_ITERATIONS = 75
DEFAULT_TIMEOUT_S = 3600
DEFAULT_WINDOW_MESSAGES = 150
DEFAULT_IDLE_TIMEOUT_S = 900
DEFAULT_MAX_LIFETIME_S = 28800
DEFAULT_SESSION_MOUNT = "/mnt/session"

Json = dict[str, Any]


class _Sampling(WireValue):
    model_id: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    additional_params: Json | None = None


class BedrockModel(_Sampling):
    """`HarnessBedrockModelConfig`."""

    api_format: Literal["converse_stream", "responses", "chat_completions"] | None = None


class OpenAiModel(_Sampling):
    """`HarnessOpenAiModelConfig`."""

    api_key_arn: str
    api_base: str | None = None
    api_format: Literal["chat_completions", "responses"] | None = None


class GeminiModel(_Sampling):
    """`HarnessGeminiModelConfig`."""

    api_key_arn: str
    top_k: int | None = None


class LiteLlmModel(_Sampling):
    """`HarnessLiteLlmModelConfig`."""

    api_key_arn: str | None = None
    api_base: str | None = None


class ModelConfig(WireValue):
    """The union `HarnessModelConfiguration`: exactly one member is set."""

    bedrock_model_config: BedrockModel | None = None
    open_ai_model_config: OpenAiModel | None = None
    gemini_model_config: GeminiModel | None = None
    lite_llm_model_config: LiteLlmModel | None = None

    @property
    def chosen(self) -> BedrockModel | OpenAiModel | GeminiModel | LiteLlmModel:
        """The member that is set."""
        members = (
            self.bedrock_model_config,
            self.open_ai_model_config,
            self.gemini_model_config,
            self.lite_llm_model_config,
        )
        return next(member for member in members if member is not None)


class ToolType(StrEnum):
    """`HarnessToolType`."""

    REMOTE_MCP = "remote_mcp"
    BROWSER = "agentcore_browser"
    GATEWAY = "agentcore_gateway"
    INLINE_FUNCTION = "inline_function"
    CODE_INTERPRETER = "agentcore_code_interpreter"


class InlineFunction(WireValue):
    """`HarnessInlineFunctionConfig`: a tool that the caller runs."""

    description: str
    input_schema: Json


class ToolConfiguration(WireValue):
    """The union `HarnessToolConfiguration`, as far as it is served."""

    inline_function: InlineFunction | None = None


class Tool(WireValue):
    """`HarnessTool`."""

    type: ToolType
    name: str | None = None
    config: ToolConfiguration | None = None


class SystemText(WireValue):
    """`HarnessSystemContentBlock`."""

    text: str


class SlidingWindow(WireValue):
    """`HarnessSlidingWindowConfiguration`."""

    messages_count: int = DEFAULT_WINDOW_MESSAGES


class Summarization(WireValue):
    """`HarnessSummarizationConfiguration`; AWS documents no defaults, these are Strands'."""

    #: Of the messages that are shown, the part that a summary replaces, the oldest first.
    summary_ratio: float = 0.3
    preserve_recent_messages: int = 10
    summarization_system_prompt: str | None = None


class TruncationConfig(WireValue):
    """`HarnessTruncationStrategyConfiguration`, a union."""

    sliding_window: SlidingWindow | None = None
    summarization: Summarization | None = None


class Truncation(WireValue):
    """`HarnessTruncationConfiguration`: what of a long conversation the model is shown."""

    strategy: Literal["sliding_window", "summarization", "none"] = "sliding_window"
    config: TruncationConfig | None = None

    @property
    def window(self) -> int | None:
        """How many of the newest messages are sent; None sends all."""
        if self.strategy != "sliding_window":
            return None
        chosen = self.config.sliding_window if self.config else None
        return (chosen or SlidingWindow()).messages_count

    @property
    def summarization(self) -> Summarization | None:
        """How what no longer fits is summarised; None when it is not."""
        if self.strategy != "summarization":
            return None
        return (self.config.summarization if self.config else None) or Summarization()


class Lifecycle(WireValue):
    """`LifecycleConfiguration`: seconds unused, and in all, before an environment stops."""

    idle_runtime_session_timeout: int = DEFAULT_IDLE_TIMEOUT_S
    max_lifetime: int = DEFAULT_MAX_LIFETIME_S


class Network(WireValue):
    """`NetworkConfiguration`; what it means here is the operator's map and the egress extension."""

    network_mode: Literal["PUBLIC", "VPC"] = "PUBLIC"
    network_mode_config: Json | None = None

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets of a VPC."""
        return tuple((self.network_mode_config or {}).get("subnets", ()))


class Filesystem(WireValue):
    """`FilesystemConfiguration`, as far as it is served: a mount, and what is mounted there."""

    kind: Literal["sessionStorage", "efsAccessPoint", "s3FilesAccessPoint"]
    mount_path: str
    access_point_arn: str | None = None


class Environment(WireValue):
    """Where the agent's commands run."""

    lifecycle: Lifecycle = Lifecycle()
    network: Network = Network()
    filesystems: tuple[Filesystem, ...] = ()
    variables: dict[str, str] = Field(default_factory=dict[str, str])
    #: `environmentArtifact.containerConfiguration.containerUri`.
    container_uri: str | None = None

    @property
    def session_mount(self) -> str:
        """Where the session's own files are."""
        mounts = [one.mount_path for one in self.filesystems if one.kind == "sessionStorage"]
        return mounts[0] if mounts else DEFAULT_SESSION_MOUNT

    @property
    def shares(self) -> tuple[Filesystem, ...]:
        """The shared directories."""
        return tuple(one for one in self.filesystems if one.access_point_arn is not None)


#: Names of the tools that every harness may offer.
_OWN_NAMES = ("shell", "file_operations", OUTPUT_TOOL)


class HarnessConfig(WireValue):
    """Everything a version of a harness fixes, with defaults filled in."""

    execution_role_arn: str
    model: ModelConfig = ModelConfig(bedrock_model_config=BedrockModel(model_id=DEFAULT_MODEL_ID))
    system_prompt: tuple[SystemText, ...] = (SystemText(text=DEFAULT_SYSTEM_PROMPT),)
    tools: tuple[Tool, ...] = ()
    allowed_tools: tuple[str, ...] = ("*",)
    truncation: Truncation = Truncation(
        strategy="sliding_window", config=TruncationConfig(sliding_window=SlidingWindow())
    )
    environment: Environment = Environment()
    max_iterations: int = DEFAULT_MAX_ITERATIONS
    max_tokens: int | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT_S
    #: Without one, callers sign.
    authorizer_configuration: AuthorizerConfiguration | None = None
    extensions: HarnessExtensions = HarnessExtensions()

    def check_agents(self) -> None:
        """See that no agent has the name of another tool.

        Raises:
            ServiceError: ValidationException.
        """
        taken = {*_OWN_NAMES, *(tool.name for tool in self.tools)}
        for index, agent in enumerate(self.extensions.agents or ()):
            if agent.name in taken:
                raise invalid(
                    f"extensions.agents[{index}].name", f"{agent.name!r} is another tool's name"
                )


class Overrides(WireValue):
    """What one InvokeHarness call may change, for that call only; None keeps the harness's own."""

    model: ModelConfig | None = None
    system_prompt: tuple[SystemText, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    allowed_tools: tuple[str, ...] | None = None
    max_iterations: int | None = None
    max_tokens: int | None = None
    timeout_seconds: int | None = None


class OutputSpec(WireValue):
    """A structured result that an invocation asks for; AWS's wire has no member for it."""

    #: JSON schema of an object.
    json_schema: Json


class RunConfig(WireValue):
    """What one invocation runs with: a harness version and the call's overrides, merged.

    Stored under its digest, so that an invocation names it by reference.
    """

    harness_arn: str
    harness_name: str
    harness_version: str
    actor_id: str
    config: HarnessConfig
    output: OutputSpec | None = None
    #: Where it comes from, when another harness called this one.
    lineage: Lineage | None = None

    @classmethod
    def merge(
        cls,
        *,
        harness_arn: str,
        harness_name: str,
        harness_version: str,
        actor_id: str,
        config: HarnessConfig,
        overrides: Overrides,
        output: OutputSpec | None = None,
        lineage: Lineage | None = None,
    ) -> "RunConfig":
        """Apply a call's overrides to a version's configuration; `tools` replaces the list.

        Raises:
            ServiceError: ValidationException: a tool has the name of one of the harness's agents.
        """
        changes = {
            name: getattr(overrides, name)
            for name in Overrides.model_fields
            if getattr(overrides, name) is not None
        }
        changed = config.model_copy(update=changes)
        changed.check_agents()
        return cls(
            harness_arn=harness_arn,
            harness_name=harness_name,
            harness_version=harness_version,
            actor_id=actor_id,
            config=changed,
            output=output,
            lineage=lineage,
        )
