"""The part of OpenAI's chat completions protocol that the demo model reads.

Source: OpenAI API reference, "Create chat completion". Members that it has no use for are ignored.
"""

from typing import Any, Literal

from pydantic import BaseModel


class TextPart(BaseModel):
    """A part of a message's content; parts that are not text are ignored."""

    type: str
    text: str = ""


class CalledFunction(BaseModel):
    """The function that a tool call names, its arguments as JSON text."""

    name: str
    arguments: str = "{}"


class ToolCall(BaseModel):
    """A tool call in an assistant message."""

    id: str
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts in it, in order."""
        if self.content is None:
            return []
        if isinstance(self.content, str):
            return [self.content] if self.content else []
        return [part.text for part in self.content if part.type == "text" and part.text]


class OfferedFunction(BaseModel):
    """A function that the request offers."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class OfferedTool(BaseModel):
    """A tool that the request offers."""

    type: Literal["function"] = "function"
    function: OfferedFunction


class StreamOptions(BaseModel):
    """How to stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model: str
    messages: list[ChatMessage]
    tools: list[OfferedTool] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
