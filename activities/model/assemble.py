"""Chunks of a stream in, a settled message of our own out; on the way, pieces for the log.

Arguments of tool calls are put together from the raw fragments and parsed once, at the end.
"""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from activities.model.chunks import (
    CallInput,
    CallOpened,
    Chunk,
    Finish,
    Opaque,
    Reasoning,
    Redacted,
    Signature,
    Text,
    Usage,
)
from activities.model.mapping import Target
from contracts.errors import ModelFailed, ModelFault
from contracts.events import BlockDelta
from contracts.messages import (
    Block,
    Message,
    ReasoningBlock,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolUseBlock,
)

#: LiteLLM hides Gemini's thought signature behind this in the id of a tool call.
_SIGNATURE_IN_ID = "__thought__"

#: 16 random bytes are 22 characters of base64 without padding.
_ID_BYTES = 16

_STOP_REASONS = {
    "stop": StopReason.END_TURN,
    "end_turn": StopReason.END_TURN,
    "eos": StopReason.END_TURN,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "length": StopReason.MAX_TOKENS,
    "max_tokens": StopReason.MAX_TOKENS,
    "content_filter": StopReason.CONTENT_FILTERED,
    "content_filtered": StopReason.CONTENT_FILTERED,
    "refusal": StopReason.CONTENT_FILTERED,
    "safety": StopReason.CONTENT_FILTERED,
    "guardrail_intervened": StopReason.CONTENT_FILTERED,
    "model_context_window_exceeded": StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED,
    "malformed_function_call": StopReason.MALFORMED_TOOL_USE,
    "unexpected_tool_call": StopReason.MALFORMED_TOOL_USE,
    "malformed_response": StopReason.MALFORMED_MODEL_OUTPUT,
    # A call was announced and none came; with calls, the message ends in tool_use whatever it says.
    "tool_calls": StopReason.MALFORMED_TOOL_USE,
    "tool_use": StopReason.MALFORMED_TOOL_USE,
    "function_call": StopReason.MALFORMED_TOOL_USE,
}

#: Finish reasons by which providers report that they broke down half-way.
_BROKEN = frozenset({"error", "network_error"})


@dataclass(frozen=True)
class Settled:
    """A whole answer.

    Attributes:
        message: the assistant message.
        stop_reason: why the model stopped.
        usage: what it cost.
        failures: by tool-call id, why the arguments of a call cannot be used.
        cost_pico_usd: what the call cost in money; None when its price is not known.
    """

    message: Message
    stop_reason: StopReason
    usage: TokenUsage
    failures: dict[str, str]
    cost_pico_usd: int | None = None


@dataclass
class _Call:
    id: str
    name: str
    provider_id: str
    opaque: dict[str, Any] | None
    fragments: list[str] = field(default_factory=list[str])


@dataclass
class _Thought:
    pieces: list[str] = field(default_factory=list[str])
    signature: str | None = None
    redacted: str | None = None


@dataclass
class _Said:
    pieces: list[str] = field(default_factory=list[str])


def mint_tool_use_id() -> str:
    """A new tool-call id, in the form AWS's have: `tooluse_` and 22 characters."""
    return "tooluse_" + base64.urlsafe_b64encode(os.urandom(_ID_BYTES)).decode().rstrip("=")


class Assembler:
    """Puts one answer together."""

    def __init__(self, target: Target, mint: Callable[[], str] = mint_tool_use_id) -> None:
        """Start an empty answer.

        Args:
            target: who answers; its family is written on what only it understands.
            mint: makes tool-call ids.
        """
        self._target = target
        self._mint = mint
        self._parts: list[_Said | _Thought | _Call] = []
        self._calls: dict[int, tuple[int, _Call]] = {}
        self._opaque: dict[str, Any] = {}
        self._usage = TokenUsage()
        self._finish: str | None = None

    def add(self, chunk: Chunk) -> BlockDelta | None:
        """Take a chunk; what it adds to the message, if anything that the log shows."""
        match chunk:
            case Text(text):
                return self._text(text)
            case Reasoning() | Signature() | Redacted():
                return self._thought(chunk)
            case CallOpened():
                return self._open(chunk)
            case CallInput(index, fragment):
                return self._input(index, fragment)
            case Opaque(name, items):
                self._opaque.setdefault(name, []).extend(items)
            case Usage(usage):
                self._usage = usage
            case Finish(reason):
                self._finish = reason
        return None

    def settle(self) -> Settled:
        """The whole answer.

        Raises:
            ModelFailed: the stream ended before the provider said that it was done.
        """
        if self._finish is None or self._finish.lower() in _BROKEN:
            raise ModelFailed(
                "The model's answer broke off before it was complete.", fault=ModelFault.CUT_STREAM
            )
        failures: dict[str, str] = {}
        blocks = tuple(self._block(part, failures) for part in self._with_opaque())
        stop_reason = _STOP_REASONS.get(self._finish.lower(), StopReason.END_TURN)
        if any(isinstance(block, ToolUseBlock) for block in blocks):
            stop_reason = StopReason.TOOL_USE
        message = Message(role="assistant", blocks=blocks, stop_reason=stop_reason)
        return Settled(message, stop_reason, self._usage, failures)

    def _text(self, text: str) -> BlockDelta:
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, _Said):
            last = _Said()
            self._parts.append(last)
        last.pieces.append(text)
        return BlockDelta(block=len(self._parts) - 1, text=text)

    def _thought(self, chunk: Reasoning | Signature | Redacted) -> BlockDelta:
        last = self._parts[-1] if self._parts else None
        sealed = isinstance(last, _Thought) and (last.signature or last.redacted)
        if not isinstance(last, _Thought) or sealed or isinstance(chunk, Redacted):
            last = _Thought()
            self._parts.append(last)
        block = len(self._parts) - 1
        match chunk:
            case Reasoning(text):
                last.pieces.append(text)
                return BlockDelta(block=block, reasoning=text)
            case Signature(signature):
                last.signature = signature
                return BlockDelta(block=block, signature=signature)
            case Redacted(data):
                last.redacted = data
                return BlockDelta(block=block, redacted=data)

    def _open(self, opened: CallOpened) -> BlockDelta | None:
        known = self._calls.get(opened.index)
        # Some servers repeat the head in every fragment; others number parallel calls all alike.
        if known is not None and opened.id in ("", known[1].provider_id):
            return None
        provider_id, _, hidden = opened.id.partition(_SIGNATURE_IN_ID)
        opaque = opened.opaque
        if hidden and not (opaque and "thought_signature" in opaque):
            opaque = {**(opaque or {}), "thought_signature": hidden}
        call = _Call(self._mint(), opened.name, opened.id or provider_id, opaque)
        self._parts.append(call)
        block = len(self._parts) - 1
        self._calls[opened.index] = (block, call)
        return BlockDelta(block=block, tool_use_id=call.id, tool_name=call.name)

    def _input(self, index: int, fragment: str) -> BlockDelta | None:
        if index not in self._calls or not fragment:
            return None
        block, call = self._calls[index]
        call.fragments.append(fragment)
        return BlockDelta(block=block, input=fragment)

    def _with_opaque(self) -> list[_Said | _Thought | _Call]:
        # Gemini's seals are on its calls already; OpenAI's items need a thought that carries them,
        # though no summary of it was shown.
        if self._calls:
            self._opaque.pop("thought_signatures", None)
        if self._opaque and not any(isinstance(part, _Thought) for part in self._parts):
            self._parts.append(_Thought())
        return self._parts

    def _block(self, part: _Said | _Thought | _Call, failures: dict[str, str]) -> Block:
        match part:
            case _Said(pieces):
                return TextBlock(text="".join(pieces))
            case _Thought():
                # All of it goes with the first thought: providers want it back together.
                opaque, self._opaque = self._opaque, {}
                return ReasoningBlock(
                    text="".join(part.pieces),
                    origin=self._target.origin,
                    signature=part.signature,
                    redacted=part.redacted,
                    opaque={**opaque, "provider": self._target.provider} if opaque else None,
                )
            case _Call():
                text = "".join(part.fragments)
                arguments, failure = _parsed(text, self._finish)
                if failure:
                    failures[part.id] = failure
                return ToolUseBlock(
                    id=part.id,
                    name=part.name,
                    input=arguments,
                    input_text=text if text.strip() else "{}",
                    origin=self._target.origin,
                    opaque=part.opaque,
                )


def _parsed(text: str, finish: str | None) -> tuple[dict[str, Any], str | None]:
    cut = " The answer reached its token limit." if finish in ("length", "max_tokens") else ""
    try:
        return arguments_of(text), None
    except ValueError as error:
        return {}, f"Error: {error}.{cut}"


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments that a model wrote for a tool call; nothing at all are none.

    Raises:
        ValueError: they are no JSON object; the message says so to the model.
    """
    try:
        value: Any = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ValueError(f"the arguments are not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the arguments must be a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]
