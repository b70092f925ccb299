"""Messages of an InvokeHarness request: `HarnessMessages` to the transcript's own record."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

from contracts.faults import Faults
from contracts.json_values import as_object
from contracts.messages import (
    Block,
    Message,
    ReasoningBlock,
    TextBlock,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)

#: `HarnessToolUseType` of tools that the harness or the caller runs; a provider runs the others.
_PLAIN_TYPE = "tool_use"


def read_messages(wire: Sequence[dict[str, Any]]) -> tuple[Message, ...]:
    """Read a request's messages.

    Args:
        wire: `HarnessMessages`, checked against the service model.

    Raises:
        ServiceError: ValidationException naming every member that is wrong or not served.
    """
    faults = Faults()
    messages = tuple(
        Message(role=message["role"], blocks=tuple(_blocks(message, f"messages[{index}]", faults)))
        for index, message in enumerate(wire)
    )
    faults.raise_if_any()
    return messages


def _blocks(message: dict[str, Any], path: str, faults: Faults) -> list[Block]:
    blocks: list[Block] = []
    for index, wire in enumerate(message["content"]):
        ((kind, content),) = wire.items()
        blocks.append(_READERS[kind](content, f"{path}.content[{index}].{kind}", faults))
    return blocks


def _text(wire: str, path: str, faults: Faults) -> Block:
    return TextBlock(text=wire)


def _reasoning(wire: dict[str, Any], path: str, faults: Faults) -> Block:
    if "redactedContent" in wire:
        return ReasoningBlock(redacted=base64.b64encode(wire["redactedContent"]).decode())
    thought = wire["reasoningText"]
    return ReasoningBlock(text=thought["text"], signature=thought.get("signature"))


def _tool_use(wire: dict[str, Any], path: str, faults: Faults) -> Block:
    _refuse_foreign(wire, path, faults)
    arguments = as_object(wire["input"])
    if arguments is None:
        faults.add(f"{path}.input", "must be an object")
        arguments = {}
    return ToolUseBlock(
        id=wire["toolUseId"], name=wire["name"], input=arguments, input_text=_compact(arguments)
    )


def _tool_result(wire: dict[str, Any], path: str, faults: Faults) -> Block:
    _refuse_foreign(wire, path, faults)
    return ToolResultBlock(
        tool_use_id=wire["toolUseId"],
        status=ToolStatus(wire.get("status", ToolStatus.SUCCESS)),
        content=tuple(
            piece["text"] if "text" in piece else _compact(piece["json"])
            for piece in wire["content"]
        ),
    )


def _refuse_foreign(wire: dict[str, Any], path: str, faults: Faults) -> None:
    """Calls that a provider runs by itself do not occur here."""
    if wire.get("type", _PLAIN_TYPE) != _PLAIN_TYPE:
        faults.add(f"{path}.type", f"only {_PLAIN_TYPE} is served")
    if "serverName" in wire:
        faults.add(f"{path}.serverName", "is not served; leave it out")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_READERS: dict[str, Callable[[Any, str, Faults], Block]] = {
    "text": _text,
    "reasoningContent": _reasoning,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
}
