"""Which tool calls cannot be made, and what the model is told."""

from typing import Any

from activities.model.checks import refusal
from contracts.messages import ToolUseBlock
from contracts.tools import Repeat, ToolKind, ToolSpec

SCHEMA = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}},
    "required": ["command"],
}


def spec(name: str, schema: dict[str, Any]) -> ToolSpec:
    return ToolSpec(name, "", ToolKind.SANDBOX, "builtin", Repeat.KEYED, schema)


OFFERED = [spec("shell", SCHEMA), spec("other", {})]


def call(name: str, **arguments: Any) -> ToolUseBlock:
    return ToolUseBlock(id="t", name=name, input=arguments)


def test_a_call_that_fits_is_made() -> None:
    assert refusal(call("shell", command="ls"), OFFERED) is None
    assert refusal(call("other", anything=1), OFFERED) is None


def test_an_unknown_tool_is_answered_with_the_known_ones() -> None:
    told = refusal(call("bash", command="ls"), OFFERED)
    assert told == "Error: there is no tool named `bash`. The tools are: `shell`, `other`."


def test_arguments_that_do_not_fit_are_told_where() -> None:
    told = refusal(call("shell", timeout="soon"), OFFERED)
    assert told is not None
    assert "'command' is a required property" in told
    assert "timeout: 'soon' is not of type 'integer'" in told


def test_a_schema_that_is_none_checks_nothing() -> None:
    assert refusal(call("f", a=1), [spec("f", {"type": "nonsense"})]) is None


def test_a_remote_reference_is_not_fetched() -> None:
    remote = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}
    assert refusal(call("f", a=1), [spec("f", remote)]) is None


def test_long_faults_are_cut() -> None:
    told = refusal(call("shell", command=["x" * 10_000]), OFFERED)
    assert told is not None and len(told) < 500
