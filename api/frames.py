"""The events of an InvokeHarness stream, as values (`InvokeHarnessStreamOutput`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from api import eventstream
from contracts.errors import AwsError, FieldError, Reason
from contracts.messages import StopReason, TokenUsage

#: Tool results are sent in pieces of this many characters; clients join them.
RESULT_PIECE = 8 * 1024

#: Members of the stream's union that are errors. Any other error is the server's.
_STREAM_ERRORS = {
    AwsError.RUNTIME_CLIENT: "runtimeClientError",
    AwsError.VALIDATION: "validationException",
}


@dataclass(frozen=True)
class Frame:
    """One frame: an event, or the exception that ends the stream."""

    name: str
    payload: Mapping[str, Any]
    is_exception: bool = False

    def encode(self) -> bytes:
        """The frame's bytes."""
        write = eventstream.exception if self.is_exception else eventstream.event
        return write(self.name, self.payload)


#: Boto3 and AWS's JavaScript SDK drop event types that they do not know; the bytes keep proxies and
#: read time-outs from ending a silent stream.
KEEP_ALIVE = Frame("keepAlive", {})


def message_start(role: Literal["user", "assistant"]) -> Frame:
    """`messageStart`."""
    return Frame("messageStart", {"role": role})


def message_stop(reason: StopReason) -> Frame:
    """`messageStop`."""
    return Frame("messageStop", {"stopReason": reason.value})


def block_start(index: int, start: dict[str, Any]) -> Frame:
    """`contentBlockStart`; only tool calls and their results have one."""
    return Frame("contentBlockStart", {"contentBlockIndex": index, "start": start})


def block_delta(index: int, delta: dict[str, Any]) -> Frame:
    """`contentBlockDelta`."""
    return Frame("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})


def block_stop(index: int) -> Frame:
    """`contentBlockStop`."""
    return Frame("contentBlockStop", {"contentBlockIndex": index})


def metadata(usage: TokenUsage, latency_ms: int) -> Frame:
    """`metadata`: what one model call used."""
    counts = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
    }
    return Frame("metadata", {"usage": counts, "metrics": {"latencyMs": latency_ms}})


def everloop_usage(scope: str, told: Mapping[str, Any]) -> Frame:
    """`everloopUsage`, an event of our own; AWS's SDKs drop it.

    Args:
        scope: what it is about: `modelCall`, `invocation` or `session`.
        told: what was used, money included.
    """
    return Frame("everloopUsage", {"scope": scope, **told})


def stream_error(
    error: AwsError,
    message: str,
    reason: Reason | None = None,
    fields: tuple[FieldError, ...] = (),
) -> Frame:
    """The exception frame for an error.

    Args:
        error: what went wrong; what the stream's union lacks becomes internalServerException.
        message: for a person.
        reason: of a ValidationException, whose default is FieldValidationFailed.
        fields: of a ValidationException.
    """
    payload: dict[str, Any] = {"message": message}
    if error is AwsError.VALIDATION:
        payload["reason"] = (reason or Reason.FIELD_VALIDATION_FAILED).value
        if fields:
            payload["fieldList"] = [{"name": f.name, "message": f.message} for f in fields]
    name = _STREAM_ERRORS.get(error, "internalServerException")
    return Frame(name, payload, is_exception=True)
