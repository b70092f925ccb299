"""What one invocation may change of its harness: the members that InvokeHarness names.

Two callers bring them: the AWS wire, where the service model has been checked before, and programs
that start a `RunHarness` workflow, whose document is checked here.
"""

from typing import Any, cast

from pydantic import ValidationError

from contracts.faults import Faults
from contracts.harness import ModelConfig, Overrides, SystemText
from contracts.model_params import RESERVED_WHY, reserved_params
from contracts.tool_config import read_tools

#: AWS names no bounds. More model calls than this in one invocation is a runaway loop.
MAX_ITERATIONS = 10_000
#: More output than any model can give in a day.
MAX_OUTPUT_TOKENS = 100_000_000
#: A week; a run that waits for a person does not count against it.
MAX_TIMEOUT_S = 7 * 24 * 3600

#: `HarnessAllowedTool` of the service model.
MAX_PATTERN_CHARACTERS = 64

_LIMITS = {
    "maxIterations": MAX_ITERATIONS,
    "maxTokens": MAX_OUTPUT_TOKENS,
    "timeoutSeconds": MAX_TIMEOUT_S,
}


def read_document(document: dict[str, Any], path: str) -> Overrides:
    """The overrides in a document that no service model has checked.

    Args:
        document: members by their names on AWS's wire.
        path: where it stands, for the names of what is wrong.

    Raises:
        ServiceError: ValidationException naming every member that is wrong or not served.
    """
    faults = Faults(path)
    try:
        shaped = Overrides.model_validate(document)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False, include_context=False):
            faults.add(".".join(str(step) for step in each["loc"]), each["msg"])
        faults.raise_if_any()
        raise
    wire = shaped.model_dump(mode="json", by_alias=True, exclude_none=True)
    if len(wire.get("model", {"": None})) != 1:
        faults.add("model", "must have exactly one member")
        del wire["model"]
    members = overridable(wire, faults)
    faults.raise_if_any()
    return Overrides(**members)


def overridable(params: dict[str, Any], faults: Faults) -> dict[str, Any]:
    """The fields of `Overrides` that a request sets, by name.

    Args:
        params: the request's members, shaped as the service model says.
        faults: takes what is wrong; then the result is incomplete.
    """
    members: dict[str, Any] = {}
    if "model" in params:
        members["model"] = _model(params["model"], faults)
    if "systemPrompt" in params:
        members["system_prompt"] = tuple(SystemText(**block) for block in params["systemPrompt"])
    if "tools" in params:
        members["tools"] = read_tools(params["tools"], faults)
    if "allowedTools" in params:
        for index, pattern in enumerate(params["allowedTools"]):
            if not 1 <= len(pattern) <= MAX_PATTERN_CHARACTERS:
                faults.add(
                    f"allowedTools[{index}]", f"must have 1 to {MAX_PATTERN_CHARACTERS} characters"
                )
        members["allowed_tools"] = tuple(params["allowedTools"])
    for name, most in _LIMITS.items():
        if name in params:
            check_between(params[name], 1, most, name, faults)
    members["max_iterations"] = params.get("maxIterations")
    members["max_tokens"] = params.get("maxTokens")
    members["timeout_seconds"] = params.get("timeoutSeconds")
    return {name: value for name, value in members.items() if value is not None}


def _model(wire: dict[str, Any], faults: Faults) -> ModelConfig | None:
    ((provider, chosen),) = wire.items()
    extra: Any = chosen.get("additionalParams")
    if extra is not None and not isinstance(extra, dict):
        faults.add(f"model.{provider}.additionalParams", "must be an object")
        return None
    for name in reserved_params(cast("dict[str, Any]", extra or {})):
        faults.add(f"model.{provider}.additionalParams.{name}", RESERVED_WHY)
    return ModelConfig.model_validate(wire)


def check_between(value: float, low: float, high: float, path: str, faults: Faults) -> None:
    """Note a fault when a number is not from `low` to `high`."""
    if not low <= value <= high:
        faults.add(path, f"must be at least {low} and at most {high}, not {value}")
