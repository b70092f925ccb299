"""A session's own events as the happenings that `invoke` shows."""

from dataclasses import dataclass, field
from typing import Any

from everloop.cli.happenings import (
    Failure,
    Happening,
    MessageEnd,
    TextPiece,
    ThoughtPiece,
    ToolCall,
    ToolResult,
)
from everloop.session_events import SessionEvent
from everloop.types import StopReason, TokenUsage

Json = dict[str, Any]


@dataclass
class Retold:
    """Folds events into happenings. Text that came in pieces is not shown again when it settles.

    Attributes:
        usage: summed over the model calls that were told.
        model_calls: how many there were.
        stop_reason: how the newest invocation that was told ended.
    """

    usage: TokenUsage = field(default_factory=TokenUsage)
    model_calls: int = 0
    stop_reason: str | None = None
    _text: str = ""
    _thought: str = ""

    def feed(self, event: SessionEvent) -> list[Happening]:
        """What an event adds."""
        match event.kind:
            case "delta":
                return [shown for piece in event.data["pieces"] for shown in self._piece(piece)]
            case "attempt":
                return self._retracted()
            case "message":
                return self._settled(event.data)
            case "results":
                return [_result(one) for one in event.data["results"]]
            case "end" | "refused":
                return self._ended(event.data)
            case "failure":
                return [_failure(event.data["error"])]
            case _:
                return []

    def _piece(self, piece: Json) -> list[Happening]:
        if (text := piece.get("text")) is not None:
            self._text += text
            return [TextPiece(text)]
        if (thought := piece.get("reasoning")) is not None:
            self._thought += thought
            return [ThoughtPiece(thought)]
        return []

    def _retracted(self) -> list[Happening]:
        shown = bool(self._text or self._thought)
        self._text = self._thought = ""
        return [MessageEnd("assistant", StopReason.INTERRUPTED)] if shown else []

    def _settled(self, data: Json) -> list[Happening]:
        message = data["message"]
        content: list[Json] = message["content"]
        text = "".join(block.get("text", "") for block in content)
        thought = "".join(
            block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
            for block in content
        )
        told: list[Happening] = []
        if rest := thought.removeprefix(self._thought):
            told.append(ThoughtPiece(rest))
        if rest := text.removeprefix(self._text):
            told.append(TextPiece(rest))
        self._text = self._thought = ""
        uses = [block["toolUse"] for block in content if "toolUse" in block]
        told += [ToolCall(use["toolUseId"], use["name"], use["input"]) for use in uses]
        self._count(data["usage"])
        return [*told, MessageEnd("assistant", message["stopReason"])]

    def _ended(self, data: Json) -> list[Happening]:
        told = self._retracted()
        if data.get("error") is not None:
            return [*told, _failure(data["error"])]
        self.stop_reason = data["stopReason"]
        return told

    def _count(self, usage: Json) -> None:
        self.model_calls += 1
        self.usage += TokenUsage(
            input_tokens=usage["inputTokens"],
            output_tokens=usage["outputTokens"],
            cache_read_input_tokens=usage["cacheReadInputTokens"],
            cache_write_input_tokens=usage["cacheWriteInputTokens"],
        )


def _result(outcome: Json) -> ToolResult:
    text = "".join(piece["text"] for piece in outcome["content"])
    return ToolResult(outcome["toolUseId"], outcome["name"], outcome["status"], text)


def _failure(error: Json) -> Failure:
    return Failure(error["type"], error.get("message") or "(no message)")
