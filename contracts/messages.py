"""The conversation, in a record of our own that no provider owns.

Blocks are shaped as AgentCore's and Converse's. What only one provider family understands (a
reasoning signature, a thought signature on a tool call) is kept verbatim in `opaque` beside the
`origin` family that made it, and is replayed only to that family.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.base import Value
from everloop.types import StopReason, TokenUsage

__all__ = [
    "Block",
    "Message",
    "Origin",
    "ReasoningBlock",
    "StopReason",
    "TextBlock",
    "TokenUsage",
    "ToolResultBlock",
    "ToolStatus",
    "ToolUseBlock",
]


class Origin(StrEnum):
    """The provider family that produced a block."""

    CLAUDE = "claude"
    GEMINI = "gemini"
    OPENAI = "openai"
    OTHER = "other"


class ToolStatus(StrEnum):
    """`HarnessToolUseStatus`."""

    SUCCESS = "success"
    ERROR = "error"


class TextBlock(Value):
    """Plain text."""

    type: Literal["text"] = "text"
    text: str


class ReasoningBlock(Value):
    """A model's thoughts."""

    type: Literal["reasoning"] = "reasoning"
    text: str = ""
    origin: Origin = Origin.OTHER
    signature: str | None = None
    #: Base64 of a redacted thought; then `text` is empty.
    redacted: str | None = None
    opaque: dict[str, Any] | None = None


class ToolUseBlock(Value):
    """A model's request to run a tool."""

    type: Literal["tool_use"] = "tool_use"
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict[str, Any])
    #: The arguments as the model streamed them, for readers that already saw a part of them.
    input_text: str = "{}"
    origin: Origin = Origin.OTHER
    opaque: dict[str, Any] | None = None


class ToolResultBlock(Value):
    """What came of a tool call."""

    type: Literal["tool_result"] = "tool_result"
    tool_use_id: str
    status: ToolStatus
    #: Text pieces; clients concatenate them.
    content: tuple[str, ...] = ()


Block = Annotated[
    TextBlock | ReasoningBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")
]


class Message(Value):
    """One settled message of the transcript."""

    role: Literal["user", "assistant"]
    blocks: tuple[Block, ...]
    #: Why the model stopped; None on user messages.
    stop_reason: StopReason | None = None

    @property
    def tool_uses(self) -> tuple[ToolUseBlock, ...]:
        """The tool calls in this message, in the model's order."""
        return tuple(block for block in self.blocks if isinstance(block, ToolUseBlock))
