"""A turn, readable in a terminal or a file, as it happens."""

import json
from typing import TYPE_CHECKING, Any, cast

from everloop.cli.happenings import (
    Failure,
    Happening,
    MessageEnd,
    TextPiece,
    ThoughtPiece,
    ToolCall,
    ToolResult,
)
from everloop.cli.output import harmless
from everloop.types import StopReason, TokenUsage

if TYPE_CHECKING:
    from rich.console import Console

#: Lines of a tool's arguments or result that are shown; the transcript has the rest.
SHOWN_LINES = 20
#: Characters of one shown line.
SHOWN_CHARACTERS = 500


class View:
    """Writes happenings to a console; text runs on, everything else has lines of its own."""

    def __init__(self, console: "Console") -> None:
        """Write to this console."""
        self._console = console
        self._open: type[TextPiece] | type[ThoughtPiece] | None = None

    def show(self, happening: Happening) -> None:
        """Show one happening."""
        match happening:
            case TextPiece(text):
                self._run_on(TextPiece, text, "")
            case ThoughtPiece(text):
                self._run_on(ThoughtPiece, text, "dim italic")
            case ToolCall(name=name, input=arguments):
                self._line(f"▸ {harmless(name)}", "bold cyan")
                self._block(describe(arguments), "cyan")
            case ToolResult(status=status, text=text):
                good = status == "success"
                self._line("◂ result" if good else "◂ error", "green" if good else "bold red")
                self._block(readable(text), "dim")
            case MessageEnd(stop_reason=reason):
                self._end_line()
                if reason == StopReason.INTERRUPTED:
                    self._line("(cut off; the model begins this message again)", "yellow")
            case Failure(name, message):
                self._line(f"error: {name}: {harmless(message)}", "red")

    def finish(self, stop_reason: str | None, usage: TokenUsage, model_calls: int) -> None:
        """Show how it all ended and what it used."""
        calls = "1 model call" if model_calls == 1 else f"{model_calls} model calls"
        self._line(
            f"— {stop_reason or 'no end'} · {usage.input_tokens} tokens in, "
            f"{usage.output_tokens} out · {calls}",
            "dim",
        )

    def _run_on(self, kind: type[TextPiece] | type[ThoughtPiece], text: str, style: str) -> None:
        if self._open is not kind:
            self._end_line()
            self._open = kind
        self._console.print(harmless(text), end="", style=style, markup=False)
        self._console.file.flush()

    def _end_line(self) -> None:
        if self._open is not None:
            self._console.print()
            self._open = None

    def _line(self, text: str, style: str) -> None:
        self._end_line()
        self._console.print(text, style=style, markup=False)

    def _block(self, text: str, style: str) -> None:
        lines = harmless(text).rstrip().splitlines()
        for line in lines[:SHOWN_LINES]:
            cut = "…" if len(line) > SHOWN_CHARACTERS else ""
            self._line(f"  │ {line[:SHOWN_CHARACTERS]}{cut}", style)
        if len(lines) > SHOWN_LINES:
            self._line(f"  │ … {len(lines) - SHOWN_LINES} lines more", style)


def readable(text: str) -> str:
    """A tool's result for a person: a JSON object member by member, without the empty ones."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return text or "(empty)"
    if not isinstance(value, dict):
        return text
    members = cast(dict[str, Any], value)
    return describe({name: one for name, one in members.items() if one not in ("", None)})


def describe(arguments: Any) -> str:
    """A tool's arguments for a person: `name: value`, long texts on lines of their own."""
    if isinstance(arguments, str):
        return arguments
    if not isinstance(arguments, dict):
        return json.dumps(arguments, ensure_ascii=False)
    named = cast(dict[str, Any], arguments)
    lines: list[str] = []
    for name, value in named.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\n" in shown:
            lines += [f"{name}:", *(f"  {line}" for line in shown.splitlines())]
        else:
            lines.append(f"{name}: {shown}")
    return "\n".join(lines) or "(no arguments)"
