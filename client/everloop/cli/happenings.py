"""What a stream of events amounts to: text, calls, results, and how it ended.

The events are those of InvokeHarness. Blocks are told apart by the order of their starts and stops
and by `toolUseId`, not by index alone, which some servers use twice.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from everloop.cli.aws import Json
from everloop.types import StopReason, TokenUsage


@dataclass(frozen=True)
class TextPiece:
    """A piece of the model's text."""

    text: str


@dataclass(frozen=True)
class ThoughtPiece:
    """A piece of the model's reasoning."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A whole tool call. `input` is the arguments, or the raw text where they are not JSON."""

    id: str
    name: str
    input: Any


@dataclass(frozen=True)
class ToolResult:
    """A whole result of a tool call; `name` is empty when the call was not in these events."""

    id: str
    name: str
    status: str
    text: str


@dataclass(frozen=True)
class MessageEnd:
    """A message ended."""

    role: str
    stop_reason: str


@dataclass(frozen=True)
class Failure:
    """The service reported an error as an event."""

    name: str
    message: str


Happening = TextPiece | ThoughtPiece | ToolCall | ToolResult | MessageEnd | Failure

#: Members of the stream that are errors; boto3 raises some and yields others.
_ERRORS = ("internalServerException", "validationException", "runtimeClientError")


@dataclass
class _Block:
    start: Json
    pieces: list[str] = field(default_factory=list[str])


@dataclass
class Reader:
    """Folds events into happenings and keeps the sums. Read several streams of one session with it.

    Attributes:
        calls: every tool call seen, by id.
        pending: calls without a result of the newest assistant message, in its order.
        stop_reason: of the newest message.
        usage: summed over all model calls.
        model_calls: how many there were.
    """

    calls: dict[str, ToolCall] = field(default_factory=dict[str, ToolCall])
    pending: dict[str, ToolCall] = field(default_factory=dict[str, ToolCall])
    stop_reason: str | None = None
    usage: TokenUsage = field(default_factory=TokenUsage)
    model_calls: int = 0
    _role: str = "assistant"
    _block: _Block | None = None
    _asked: list[ToolCall] = field(default_factory=list[ToolCall])

    @property
    def waits_for_answers(self) -> bool:
        """Whether the turn was handed to the caller, who must answer `pending`."""
        return self.stop_reason == StopReason.TOOL_USE and bool(self.pending)

    def feed(self, event: Json) -> list[Happening]:
        """Take one event; what it completes, which may be nothing."""
        (kind, body), *_ = event.items()
        match kind:
            case "messageStart":
                self._role, self._block, self._asked = body["role"], None, []
            case "contentBlockStart":
                self._block = _Block(body["start"])
            case "contentBlockDelta":
                return self._delta(body["delta"])
            case "contentBlockStop":
                return self._block_end()
            case "messageStop":
                return [self._message_end(body["stopReason"])]
            case "metadata":
                self._count(body["usage"])
            case _ if kind in _ERRORS:
                return [Failure(kind[0].upper() + kind[1:], body.get("message") or "(no message)")]
            case _:
                pass
        return []

    def _delta(self, delta: Json) -> list[Happening]:
        match delta:
            case {"text": str(text)}:
                return [TextPiece(text)]
            case {"reasoningContent": {"text": str(text)}}:
                return [ThoughtPiece(text)]
            case {"toolUse": {"input": str(text)}} if self._block:
                self._block.pieces.append(text)
            case {"toolResult": [*items]} if self._block:
                self._block.pieces += [_result_text(item) for item in items]
            case _:
                pass
        return []

    def _block_end(self) -> list[Happening]:
        block, self._block = self._block, None
        match block.start if block else {}:
            case {"toolUse": {"toolUseId": str(id_), "name": str(name)}}:
                call = ToolCall(id_, name, _arguments("".join(block.pieces if block else ())))
                self.calls[id_] = call
                self._asked.append(call)
                return [call]
            case {"toolResult": {"toolUseId": str(id_), **rest}}:
                self.pending.pop(id_, None)
                name = self.calls[id_].name if id_ in self.calls else ""
                text = "".join(block.pieces if block else ())
                return [ToolResult(id_, name, str(rest.get("status", "success")), text)]
            case _:
                return []

    def _message_end(self, reason: str) -> MessageEnd:
        self.stop_reason = reason
        if self._role == "assistant" and reason == StopReason.TOOL_USE:
            self.pending = {call.id: call for call in self._asked}
        elif self._role == "assistant" and reason != StopReason.INTERRUPTED:
            self.pending = {}
        return MessageEnd(self._role, reason)

    def _count(self, usage: Json) -> None:
        self.model_calls += 1
        self.usage += TokenUsage(
            input_tokens=usage.get("inputTokens", 0),
            output_tokens=usage.get("outputTokens", 0),
            cache_read_input_tokens=usage.get("cacheReadInputTokens", 0),
            cache_write_input_tokens=usage.get("cacheWriteInputTokens", 0),
        )


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _result_text(item: Json) -> str:
    return item["text"] if "text" in item else json.dumps(item.get("json"))
