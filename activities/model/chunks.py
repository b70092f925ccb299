"""The neutral pieces of a provider's stream, in the order in which it says them."""

from dataclasses import dataclass
from typing import Any

from contracts.messages import TokenUsage


@dataclass(frozen=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """A piece of a thought."""

    text: str


@dataclass(frozen=True)
class Signature:
    """The seal of the thought before it, without which its provider refuses to read it again."""

    signature: str


@dataclass(frozen=True)
class Redacted:
    """A whole thought that only its provider can read, in base64."""

    data: str


@dataclass(frozen=True)
class Opaque:
    """What only the provider understands, to be kept beside the message's thoughts."""

    name: str
    items: tuple[Any, ...]


@dataclass(frozen=True)
class CallOpened:
    """A tool call begins. `index` tells apart calls whose arguments arrive in turns."""

    index: int
    id: str
    name: str
    opaque: dict[str, Any] | None = None


@dataclass(frozen=True)
class CallInput:
    """A fragment of a tool call's arguments, JSON text."""

    index: int
    fragment: str


@dataclass(frozen=True)
class Usage:
    """What the call cost. `counted` says that we counted, because the provider did not tell."""

    usage: TokenUsage
    counted: bool = False


@dataclass(frozen=True)
class Finish:
    """The provider says that it is done, and why, in its own or OpenAI's words."""

    reason: str


Chunk = Text | Reasoning | Signature | Redacted | Opaque | CallOpened | CallInput | Usage | Finish
