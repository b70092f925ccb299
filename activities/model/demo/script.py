"""What the user's text asks for: sentences in, an ordered plan out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: A plan longer than this is a slip of the pen; benches use 500 steps.
MOST_STEPS = 10_000


@dataclass(frozen=True)
class Shell:
    """Run a command."""

    command: str


@dataclass(frozen=True)
class WriteFile:
    """Write a file anew."""

    path: str
    content: str


@dataclass(frozen=True)
class ReadFile:
    """Look at a file."""

    path: str


@dataclass(frozen=True)
class Approval:
    """Ask the caller for approval."""


Action = Shell | WriteFile | ReadFile | Approval

#: What one model call asks for: one action, or several at the same time.
Step = tuple[Action, ...]


@dataclass(frozen=True)
class Plan:
    """What a text asks for: the steps in order, and how far to count at the end."""

    steps: tuple[Step, ...] = ()
    counts: tuple[int, ...] = ()


# Backticked spans are taken out before sentences are split, so that a command may hold full stops.
_SPAN = re.compile(r"`([^`]+)`")
_HELD = "\x00(\\d+)\x00"
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+|,?\s+(?:and\s+)?then\s+", re.IGNORECASE)
_REPEAT = re.compile(r"\brepeat\s+(\d+)\s+times\b", re.IGNORECASE)
_TOGETHER = re.compile(r"\bin parallel\b|\bat the same time\b", re.IGNORECASE)
_ACTION = re.compile(
    rf"""
      \bwrite\s+(?:the\s+|a\s+)?file\s+{_HELD}\s+(?:with|containing)\s+(?:the\s+)?(?:content\s+|text\s+)?{_HELD}
    | \b(?:read|show)\s+(?:me\s+)?(?:the\s+)?file\s+{_HELD}
    | \b(?:run|execute)\s+(?:the\s+|this\s+|these\s+)?(?:shell\s+)?(?:commands?\s+)?
      (?P<commands>{_HELD}(?:\s*(?:,|and|,\s*and)\s*(?:the\s+)?(?:shell\s+)?(?:command\s+)?{_HELD})*)
    | (?P<approval>\b(?:ask|get|request|seek|obtain)\b[^.!?]*?\bapproval\b)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_COUNT = re.compile(r"\bcount\s+(?:up\s+)?to\s+(\d+)\b", re.IGNORECASE)


def read(text: str) -> Plan:
    """Read the user's text by the rules in this package's docstring.

    Args:
        text: the newest text of the user.

    Returns:
        The plan; without steps and counts when no rule applies.
    """
    spans: list[str] = []

    def hold(match: re.Match[str]) -> str:
        spans.append(match[1])
        return f"\x00{len(spans) - 1}\x00"

    masked = _SPAN.sub(hold, text.replace("\x00", ""))
    steps: list[Step] = []
    counts: list[int] = []
    for sentence in _SENTENCE.split(masked):
        times = _REPEAT.search(sentence)
        repeats = min(int(times[1]), MOST_STEPS) if times else 1
        steps.extend(_steps(sentence, spans) * repeats)
        counts.extend(min(int(found), MOST_STEPS) for found in _COUNT.findall(sentence))
    return Plan(tuple(steps[:MOST_STEPS]), tuple(counts))


def _steps(sentence: str, spans: list[str]) -> list[Step]:
    actions = tuple(_actions(sentence, spans))
    if _TOGETHER.search(sentence) and actions:
        return [actions]
    return [(action,) for action in actions]


def _actions(sentence: str, spans: list[str]) -> Iterator[Action]:
    for match in _ACTION.finditer(sentence):
        if match["approval"]:
            yield Approval()
        elif match["commands"]:
            for index in re.findall(_HELD, match["commands"]):
                yield Shell(spans[int(index)])
        elif match[1]:
            yield WriteFile(spans[int(match[1])], spans[int(match[2])])
        else:
            yield ReadFile(spans[int(match[3])])
