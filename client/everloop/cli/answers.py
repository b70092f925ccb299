"""Answers to calls that were handed to the caller."""

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from everloop.cli.aws import Json
from everloop.cli.errors import UsageError
from everloop.cli.happenings import ToolCall
from everloop.cli.output import harmless
from everloop.cli.view import describe

if TYPE_CHECKING:
    from rich.console import Console

#: What a plain yes or no becomes: words that a model and a program understand.
YES, NO = '{"approved": true}', '{"approved": false}'
_SHORT = {"y": YES, "yes": YES, "n": NO, "no": NO}


def parse_answers(given: Sequence[str]) -> dict[str, str]:
    """Read `TOOL_USE_ID=TEXT` options; y and n become a decision.

    Raises:
        UsageError: one is not of that form, or a call is answered twice.
    """
    answers: dict[str, str] = {}
    for one in given:
        id_, found, text = one.partition("=")
        if not found or not id_ or not text.strip():
            raise UsageError(f"--answer must be TOOL_USE_ID=TEXT, not {one!r}")
        if id_ in answers:
            raise UsageError(f"--answer gives two answers to {id_}")
        answers[id_] = meaning(text)
    return answers


def meaning(text: str) -> str:
    """What a typed answer is sent as."""
    return _SHORT.get(text.strip().lower(), text)


def message(answers: dict[str, str]) -> Json:
    """The user message that carries the answers, as InvokeHarness takes it."""
    return {
        "role": "user",
        "content": [
            {"toolResult": {"toolUseId": id_, "status": "success", "content": [{"text": text}]}}
            for id_, text in answers.items()
        ],
    }


def ask(console: "Console", pending: Iterable[ToolCall]) -> dict[str, str]:
    """Ask the user at the terminal about each call, in order."""
    answers: dict[str, str] = {}
    for call in pending:
        console.print(f"\n{harmless(call.name)} waits for you:", style="bold yellow", markup=False)
        for line in harmless(describe(call.input)).splitlines():
            console.print(f"  {line}", markup=False)
        typed = ""
        while not typed.strip():
            typed = console.input("Your answer (y, n, or any text or JSON): ", markup=False)
        answers[call.id] = meaning(typed)
    return answers


def how_to_answer(harness: str, session: str, pending: Iterable[ToolCall]) -> str:
    """What to run to answer these calls."""
    calls = list(pending)
    words = ["everloop", "invoke", harness, "--session-id", session]
    for call in calls:
        words += ["--answer", f"{call.id}=y"]
    asked = "\n".join(f"  {call.name} {call.id}: {describe(call.input)}" for call in calls)
    return (
        f"The turn waits for an answer to:\n{harmless(asked)}\n"
        f"Answer with (y, n, or any text or JSON after the '='):\n  {shlex.join(words)}"
    )
