"""Options that define an agent, shared by `create` and `invoke`, and the request made of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from everloop.cli.aws import Json
from everloop.cli.errors import UsageError
from everloop.cli.model import Provider, model_configuration

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="ID", help="Model id; demo/scripted needs no key."),
]
ProviderOption = Annotated[
    Provider | None,
    typer.Option("--model-provider", help="Whose model it is; bedrock unless the id is demo/..."),
]
ApiKeyOption = Annotated[
    str | None, typer.Option("--api-key-arn", metavar="ARN", help="Credential of the provider.")
]
ApiBaseOption = Annotated[
    str | None,
    typer.Option("--api-base", metavar="URL", help="Server of an open_ai or lite_llm model."),
]
SystemPromptOption = Annotated[
    str | None, typer.Option("--system-prompt", metavar="TEXT", help="The system prompt.")
]
ToolFileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--tool-file",
        metavar="FILE",
        help="JSON of one tool or a list of tools, as the API has them. May be repeated.",
    ),
]
InlineFunctionOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--inline-function",
        metavar="FILE",
        help='JSON {"name", "description", "inputSchema"} of a function that you answer. '
        "May be repeated.",
    ),
]
AllowedToolOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-tool",
        metavar="PATTERN",
        help="Pattern of tools to offer, as shell, @builtin, @name. May be repeated.",
    ),
]
MaxIterationsOption = Annotated[
    int | None, typer.Option("--max-iterations", min=1, help="Model calls in one invocation.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Output tokens of one invocation.")
]
TimeoutOption = Annotated[
    int | None, typer.Option("--timeout-seconds", min=1, help="Seconds for one invocation.")
]


class _Function(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    description: str
    inputSchema: Json = Field(default_factory=lambda: {"type": "object", "properties": {}})


class _Tool(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str


def _listed(value: object) -> object:
    return cast(list[object], value) if isinstance(value, list) else [value]


_TOOLS = TypeAdapter(Annotated[list[_Tool], BeforeValidator(_listed)])


@dataclass(frozen=True)
class Definition:
    """What the user said about the agent; None and empty leave the API's own."""

    model: str | None = None
    provider: Provider | None = None
    api_key_arn: str | None = None
    api_base: str | None = None
    system_prompt: str | None = None
    tool_files: tuple[Path, ...] = ()
    inline_functions: tuple[Path, ...] = ()
    allowed_tools: tuple[str, ...] = ()
    max_iterations: int | None = None
    max_tokens: int | None = None
    timeout_seconds: int | None = None

    def members(self, region: str) -> Json:
        """The members that CreateHarness and InvokeHarness have in common.

        Raises:
            UsageError: options do not fit each other, or a file does not hold what it must.
        """
        tools = [tool for path in self.tool_files for tool in _tools(path)]
        tools += [_inline_function(path) for path in self.inline_functions]
        members: Json = {
            "model": model_configuration(
                self.model,
                self.provider,
                api_key_arn=self.api_key_arn,
                api_base=self.api_base,
                region=region,
            ),
            "systemPrompt": [{"text": self.system_prompt}] if self.system_prompt else None,
            "tools": tools or None,
            "allowedTools": list(self.allowed_tools) or None,
            "maxIterations": self.max_iterations,
            "maxTokens": self.max_tokens,
            "timeoutSeconds": self.timeout_seconds,
        }
        return {name: value for name, value in members.items() if value is not None}


def _tools(path: Path) -> list[Json]:
    try:
        return [tool.model_dump() for tool in _TOOLS.validate_json(_read(path))]
    except ValidationError as error:
        raise UsageError(f"{path}: must hold a tool or a list of tools: {_first(error)}") from error


def _inline_function(path: Path) -> Json:
    try:
        function = _Function.model_validate_json(_read(path))
    except ValidationError as error:
        raise UsageError(f"{path}: must hold an inline function: {_first(error)}") from error
    return {
        "type": "inline_function",
        "name": function.name,
        "config": {
            "inlineFunction": {
                "description": function.description,
                "inputSchema": function.inputSchema,
            }
        },
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(step) for step in fault["loc"])
    return f"{where}: {fault['msg']}" if where else fault["msg"]
