"""Messages as attributes of spans: JSON of OpenTelemetry's conventions, and bounded.

Source: the JSON schemas of `gen_ai.input.messages`, `gen_ai.output.messages` and
`gen_ai.system_instructions`. Thoughts are left out: they are for the model that had them.
"""

import json
from collections.abc import Sequence
from typing import Any

from contracts.messages import Message, TextBlock, ToolResultBlock, ToolUseBlock

#: Characters of one piece of text; a trace shows what was said, the transcript has all of it.
MAX_PART_CHARS = 8192
#: Characters of one attribute. Collectors take 4 MiB for a whole batch of up to 512 spans.
MAX_ATTRIBUTE_CHARS = 65536

_CUT = " [cut]"

Json = dict[str, Any]


def messages_text(messages: Sequence[Message]) -> str:
    """The newest messages that fit, oldest first, as a JSON array."""
    kept: list[str] = []
    room = MAX_ATTRIBUTE_CHARS
    for message in reversed(messages):
        text = json.dumps(_message(message), ensure_ascii=False)
        room -= len(text) + 2
        if room < 0:
            break
        kept.append(text)
    return f"[{', '.join(reversed(kept))}]"


def instructions_text(texts: Sequence[str]) -> str:
    """The system prompt, as a JSON array."""
    return _bounded([{"type": "text", "content": _short(text)} for text in texts])


def arguments_text(arguments: Json) -> str:
    """A tool call's arguments as JSON, cut where they are too long."""
    return _short(json.dumps(arguments, ensure_ascii=False))


def result_text(text: str) -> str:
    """A tool's result, cut where it is too long."""
    return _short(text)


def _message(message: Message) -> Json:
    parts: list[Json] = []
    for block in message.blocks:
        match block:
            case TextBlock(text=text):
                parts.append({"type": "text", "content": _short(text)})
            case ToolUseBlock(id=id, name=name, input=arguments):
                shown = arguments_text(arguments)
                parts.append({"type": "tool_call", "id": id, "name": name, "arguments": shown})
            case ToolResultBlock(tool_use_id=id, content=content):
                said = _short("".join(content))
                parts.append({"type": "tool_call_response", "id": id, "response": said})
            case _:
                pass
    # The conventions give results of tools a role of their own.
    results = message.role == "user" and any(part["type"] != "text" for part in parts)
    whole: Json = {"role": "tool" if results else message.role, "parts": parts}
    if message.stop_reason:
        whole["finish_reason"] = message.stop_reason.value
    return whole


def _bounded(parts: list[Json]) -> str:
    text = json.dumps(parts, ensure_ascii=False)
    while len(text) > MAX_ATTRIBUTE_CHARS:
        parts.pop()
        text = json.dumps(parts, ensure_ascii=False)
    return text


def _short(text: str) -> str:
    # Half a surrogate pair cannot be encoded, and would cost its whole batch.
    text = text[: MAX_PART_CHARS + 1].encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_PART_CHARS else text[: MAX_PART_CHARS - len(_CUT)] + _CUT
