"""Values a caller meets: why a turn stopped and what it used."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class StopReason(StrEnum):
    """`HarnessStopReason` of the InvokeHarness event stream."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    TOOL_RESULT = "tool_result"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    CONTENT_FILTERED = "content_filtered"
    MALFORMED_MODEL_OUTPUT = "malformed_model_output"
    MALFORMED_TOOL_USE = "malformed_tool_use"
    INTERRUPTED = "interrupted"
    PARTIAL_TURN = "partial_turn"
    MODEL_CONTEXT_WINDOW_EXCEEDED = "model_context_window_exceeded"
    MAX_ITERATIONS_EXCEEDED = "max_iterations_exceeded"
    MAX_OUTPUT_TOKENS_EXCEEDED = "max_output_tokens_exceeded"
    TIMEOUT_EXCEEDED = "timeout_exceeded"
    HOOK_STOPPED = "hook_stopped"


class TokenUsage(BaseModel):
    """`HarnessTokenUsage`, in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "TokenUsage") -> "TokenUsage":
        """The sum, kind by kind."""
        return TokenUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens + other.cache_read_input_tokens,
            cache_write_input_tokens=self.cache_write_input_tokens + other.cache_write_input_tokens,
        )
