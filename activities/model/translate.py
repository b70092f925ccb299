"""The neutral transcript as a provider is to read it: OpenAI-shaped messages for LiteLLM. Pure.

What one family alone understands goes back to that family only. The result is always a valid
conversation: it begins with the user, every tool call is answered right after it, and nothing is
answered that was not called.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from activities.model.mapping import Target, Thoughts
from contracts.messages import (
    Message,
    Origin,
    ReasoningBlock,
    TextBlock,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)
from contracts.tools import ToolSpec

Json = dict[str, Any]

#: Stands before a conversation whose beginning was cut off with no text of the user left.
OPENING = "(The beginning of this conversation is not shown.)"
#: Stands for the result of a call that has none, which no provider accepts.
NO_RESULT = "Error: the call has no result."

#: What Mistral accepts as a tool-call id: exactly nine alphanumerics.
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
#: OpenAI refuses longer tool-call ids.
_OPENAI_ID_LENGTH = 40
_THINKING = ("thinking", "reasoning_effort", "thinking_config")


def messages_for(
    target: Target, system: Sequence[str], shown: Sequence[Message]
) -> tuple[list[Json], Target]:
    """Write a conversation for a model.

    Args:
        target: the model.
        system: the system prompt's texts.
        shown: the window of the transcript, oldest first, ending with a user message.

    Returns:
        Messages for LiteLLM, and the target, with thinking switched off for this call when the
        conversation would not be accepted with it.
    """
    writer = _Writer(target)
    for message in shown:
        writer.write(message)
    prompt = "\n\n".join(text for text in system if text)
    head: list[Json] = [{"role": "system", "content": prompt}] if prompt else []
    body = writer.finish()
    if not body or body[0]["role"] != "user":
        head.append({"role": "user", "content": OPENING})
    return [*head, *body], _rested(target, shown)


def tools_for(target: Target, offered: Sequence[ToolSpec], shown: Sequence[Message]) -> list[Json]:
    """The offered tools in OpenAI's shape.

    Claude and Bedrock refuse a conversation with tool calls and no tools; for them the tools that
    were called are named, when none is offered any more.
    """
    if not offered and (target.origin is Origin.CLAUDE or target.provider == "bedrock"):
        names = dict.fromkeys(use.name for message in shown for use in message.tool_uses)
        return [_function(name, "Not available any more.", {}) for name in names]
    return [_function(spec.name, spec.description, spec.schema) for spec in offered]


def tool_call_id(target: Target, tool_use_id: str) -> str:
    """A tool-call id in the grammar of the model's provider; the same id gives the same."""
    if "mistral" in target.model.lower():
        if _MISTRAL_ID.fullmatch(tool_use_id):
            return tool_use_id
        return hashlib.sha256(tool_use_id.encode()).hexdigest()[:9]
    if len(tool_use_id) > _OPENAI_ID_LENGTH and target.origin is not Origin.CLAUDE:
        return "call_" + hashlib.sha256(tool_use_id.encode()).hexdigest()[:32]
    return tool_use_id


class _Writer:
    """Writes message after message, and keeps the conversation valid."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._written: list[Json] = []
        self._open: list[str] = []

    def write(self, message: Message) -> None:
        if message.role == "assistant":
            self._assistant(message)
        else:
            self._user(message)

    def finish(self) -> list[Json]:
        self._answer({})
        return self._written

    def _user(self, message: Message) -> None:
        results = {
            block.tool_use_id: block
            for block in message.blocks
            if isinstance(block, ToolResultBlock)
        }
        self._answer(results)
        texts = [block.text for block in message.blocks if isinstance(block, TextBlock)]
        if not texts:
            return
        parts = [{"type": "text", "text": text} for text in texts]
        last = self._written[-1] if self._written else None
        if last is not None and last["role"] == "user":
            last["content"] = [*_parts(last["content"]), *parts]
        else:
            content = texts[0] if len(texts) == 1 else parts
            self._written.append({"role": "user", "content": content})

    def _answer(self, results: dict[str, ToolResultBlock]) -> None:
        for tool_use_id in self._open:
            result = results.get(tool_use_id)
            self._written.append(
                {
                    "role": "tool",
                    "tool_call_id": tool_call_id(self._target, tool_use_id),
                    "content": _result_text(result) if result else NO_RESULT,
                }
            )
        self._open = []

    def _assistant(self, message: Message) -> None:
        self._answer({})
        text = "".join(block.text for block in message.blocks if isinstance(block, TextBlock))
        calls = [self._call(use) for use in message.tool_uses]
        thoughts = _thoughts(self._target, message) if text or calls else {}
        if not text and not calls:
            return
        self._open = [use.id for use in message.tool_uses]
        last = self._written[-1] if self._written else None
        if last is not None and last["role"] == "assistant" and not last.get("tool_calls"):
            text = f"{last['content'] or ''}{text}"
            self._written.pop()
        said: Json = {"role": "assistant", "content": text or None, **thoughts}
        if calls:
            said["tool_calls"] = calls
        self._written.append(said)

    def _call(self, use: ToolUseBlock) -> Json:
        call: Json = {
            "id": tool_call_id(self._target, use.id),
            "type": "function",
            "function": {
                "name": use.name,
                "arguments": json.dumps(use.input, ensure_ascii=False),
            },
        }
        if self._target.thoughts is Thoughts.SIGNATURES and use.origin is Origin.GEMINI:
            signature = (use.opaque or {}).get("thought_signature")
            if signature:
                call["provider_specific_fields"] = {"thought_signature": signature}
        return call


def _parts(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _result_text(result: ToolResultBlock) -> str:
    text = "".join(result.content)
    # OpenAI's shape has no place for the status, so the words must carry it.
    if result.status is ToolStatus.ERROR and not text.lower().startswith("error"):
        return f"Error: {text}"
    return text


def _thoughts(target: Target, message: Message) -> Json:
    own = [
        block
        for block in message.blocks
        if isinstance(block, ReasoningBlock) and block.origin is target.origin
    ]
    match target.thoughts:
        case Thoughts.BLOCKS:
            blocks = [written for block in own for written in _thinking_block(block)]
            return {"thinking_blocks": blocks} if blocks else {}
        case Thoughts.SIGNATURES:
            signatures = _opaque(own, "thought_signatures", None)
            if not signatures:
                return {}
            return {"provider_specific_fields": {"thought_signatures": signatures}}
        case Thoughts.ITEMS:
            items = _opaque(own, "reasoning_items", target.provider)
            sealed = [item for item in items if item.get("encrypted_content")]
            return {"reasoning_items": sealed} if sealed else {}
        case Thoughts.NONE:
            return {}


def _thinking_block(block: ReasoningBlock) -> list[Json]:
    if block.redacted:
        return [{"type": "redacted_thinking", "data": block.redacted}]
    if block.signature:
        return [{"type": "thinking", "thinking": block.text, "signature": block.signature}]
    return []


def _opaque(own: Sequence[ReasoningBlock], name: str, provider: str | None) -> list[Any]:
    # What one provider of a family sealed, another of the same family cannot open.
    kept = [block.opaque for block in own if block.opaque]
    return [
        item
        for opaque in kept
        if provider is None or opaque.get("provider") == provider
        for item in opaque.get(name, ())
    ]


def _rested(target: Target, shown: Sequence[Message]) -> Target:
    """Switch thinking off when a tool loop is open that began without it.

    Anthropic refuses a request with thinking on whose open tool loop has an assistant message that
    does not begin with a thought: one of another family, after a switch of models.
    """
    if target.thoughts is not Thoughts.BLOCKS or not any(
        name in target.parameters for name in _THINKING
    ):
        return target
    for message in reversed(shown):
        if message.role == "user" and any(isinstance(said, TextBlock) for said in message.blocks):
            return target
        if message.tool_uses and "thinking_blocks" not in _thoughts(target, message):
            kept = {
                name: value for name, value in target.parameters.items() if name not in _THINKING
            }
            return replace(target, parameters=kept)
    return target


def _function(name: str, description: str, schema: Json) -> Json:
    parameters = schema or {"type": "object", "properties": {}}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            # LiteLLM rewrites it in place for some providers; we check arguments by our own.
            "parameters": deepcopy(parameters),
        },
    }
