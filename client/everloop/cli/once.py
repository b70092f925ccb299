"""Every happening of an invocation once, although its stream may have to be attached to again.

A stream that is attached to later tells the invocation from its beginning: settled messages as they
are, pieces of text cut differently, retracted messages left out.
"""

from dataclasses import dataclass, field

from everloop.cli.happenings import (
    Happening,
    MessageEnd,
    TextPiece,
    ThoughtPiece,
    ToolCall,
    ToolResult,
)
from everloop.types import StopReason


@dataclass
class Once:
    """Remembers what was passed on. Call `attach` before each stream, then `fresh` for each."""

    _settled: int = 0
    _text: str = ""
    _thought: str = ""
    _ids: set[str] = field(default_factory=set[str])
    _place: int = 0
    _heard_text: str = ""
    _heard_thought: str = ""

    def attach(self) -> None:
        """A stream begins, at the beginning of the invocation."""
        self._place, self._heard_text, self._heard_thought = 0, "", ""

    def fresh(self, happening: Happening) -> Happening | None:
        """The happening, or what of it is new; None when it was passed on before."""
        match happening:
            case MessageEnd(stop_reason=reason):
                return self._message_end(happening, settles=reason != StopReason.INTERRUPTED)
            case _ if self._place < self._settled:
                return None
            case TextPiece(text):
                new, self._heard_text, self._text = _beyond(self._text, self._heard_text, text)
                return TextPiece(new) if new else None
            case ThoughtPiece(text):
                new, self._heard_thought, self._thought = _beyond(
                    self._thought, self._heard_thought, text
                )
                return ThoughtPiece(new) if new else None
            case ToolCall(id=id_):
                return self._first(f"call {id_}", happening)
            case ToolResult(id=id_):
                return self._first(f"result {id_}", happening)
            case _:
                return happening

    def _message_end(self, end: MessageEnd, *, settles: bool) -> MessageEnd | None:
        known = self._place < self._settled
        self._heard_text = self._heard_thought = ""
        if settles:
            self._place += 1
        if known:
            return None
        self._settled = self._place
        self._text = self._thought = ""
        return end

    def _first(self, key: str, happening: Happening) -> Happening | None:
        # A call that still waits is shown again in a later message: only a repetition is dropped.
        known = f"{self._place} {key}"
        if known in self._ids:
            return None
        self._ids.add(known)
        return happening


def _beyond(passed: str, heard: str, piece: str) -> tuple[str, str, str]:
    """What of `piece` goes beyond what was passed on; then all that was heard, and passed on.

    Where the texts part, an attempt was retracted while nobody listened, and the new one is told
    whole.
    """
    heard += piece
    if passed.startswith(heard):
        return "", heard, passed
    if heard.startswith(passed):
        return heard[len(passed) :], heard, heard
    return f"\n{heard}", heard, heard
