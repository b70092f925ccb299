"""Messages, invocations and rows of the event log as our JSON has them.

Content blocks are shaped as AWS's `HarnessContentBlock`, so that a transcript can be given to
InvokeHarness again. What only one provider family understands stands beside, as `origin` and
`opaque`.
"""

from collections.abc import Sequence
from typing import Any

from contracts.errors import ErrorDetail
from contracts.events import Delta, Ended, Event, Handover, Opened, Refused, Results, Settled
from contracts.messages import (
    Block,
    Message,
    Origin,
    ReasoningBlock,
    TextBlock,
    TokenUsage,
    ToolResultBlock,
    ToolUseBlock,
)
from contracts.records import CallRecord, InvocationRecord

Json = dict[str, Any]


def show_message(message: Message) -> Json:
    """`role`, `content` and, of a model's message, `stopReason`."""
    shown: Json = {"role": message.role, "content": [_block(block) for block in message.blocks]}
    if message.stop_reason is not None:
        shown["stopReason"] = message.stop_reason.value
    return shown


def show_invocation(invocation: InvocationRecord) -> Json:
    """An invocation without what was said in it."""
    return {
        "invocationId": invocation.invocation_id,
        "state": invocation.state.value,
        "stopReason": invocation.stop_reason,
        "error": _error(invocation.error) if invocation.error else None,
        "cursor": invocation.first_cursor - 1,
        "createdAt": invocation.created_at,
        "endedAt": invocation.ended_at,
        "usage": show_tokens(invocation.usage),
    }


def show_event(
    event: Event, message: Message | None = None, calls: Sequence[CallRecord] = ()
) -> Json:
    """A row of the log, whole.

    Args:
        event: the row.
        message: for a MESSAGE row, the settled message.
        calls: for a RESULTS or HANDOVER row, its calls in the row's order.
    """
    return {
        "cursor": event.cursor,
        "invocationId": event.invocation_id,
        "step": event.step,
        "attempt": event.attempt,
        "index": event.index,
        **_payload(event, message, calls),
    }


def show_tokens(usage: TokenUsage) -> Json:
    """`HarnessTokenUsage`."""
    return {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
    }


def show_call(call: CallRecord) -> Json:
    """A tool call that was asked for."""
    return {
        "toolUseId": call.id,
        "name": call.name,
        "input": call.input,
        "digest": call.digest,
        "invocationId": call.invocation_id,
    }


def _payload(event: Event, message: Message | None, calls: Sequence[CallRecord]) -> Json:
    match event.payload:
        case Opened():
            return {}
        case Refused() as refused:
            detail = ErrorDetail(refused.error, refused.message, refused.reason, refused.fields)
            return {"error": _error(detail)}
        case Delta(pieces=pieces):
            return {"pieces": [piece.model_dump(exclude_none=True) for piece in pieces]}
        case Settled(seq=seq, usage=usage, latency_ms=latency_ms):
            assert message is not None
            shown = {"message": show_message(message), "usage": show_tokens(usage)}
            return {"seq": seq, "latencyMs": latency_ms, **shown}
        case Results():
            return {"results": [_outcome(call) for call in calls]}
        case Handover():
            return {"calls": [show_call(call) for call in calls]}
        case Ended(stop_reason=stop_reason, error=error, message=told):
            if error is None:
                return {"stopReason": stop_reason}
            return {"stopReason": None, "error": {"type": error.value, "message": told}}


def _outcome(call: CallRecord) -> Json:
    shown: Json = {
        "toolUseId": call.id,
        "name": call.name,
        "status": call.status,
        "content": [{"text": text} for text in call.content],
    }
    return shown if call.snapshot_id is None else {**shown, "snapshotId": call.snapshot_id}


def _error(error: ErrorDetail) -> Json:
    shown: Json = {"type": error.error.value, "message": error.message}
    if error.reason is not None:
        shown["reason"] = error.reason.value
    if error.fields:
        shown["fieldList"] = [{"name": f.name, "message": f.message} for f in error.fields]
    return shown


def _block(block: Block) -> Json:
    match block:
        case TextBlock(text=text):
            return {"text": text}
        case ToolUseBlock():
            use = {"toolUseId": block.id, "name": block.name, "input": block.input}
            return {"toolUse": use, **_own(block)}
        case ToolResultBlock():
            result = {
                "toolUseId": block.tool_use_id,
                "status": block.status.value,
                "content": [{"text": text} for text in block.content],
            }
            return {"toolResult": result}
        case ReasoningBlock(redacted=None):
            thought = {"text": block.text}
            if block.signature is not None:
                thought["signature"] = block.signature
            return {"reasoningContent": {"reasoningText": thought}, **_own(block)}
        case ReasoningBlock():
            return {"reasoningContent": {"redactedContent": block.redacted}, **_own(block)}


def _own(block: ToolUseBlock | ReasoningBlock) -> Json:
    shown: Json = {} if block.origin is Origin.OTHER else {"origin": block.origin.value}
    if block.opaque is not None:
        shown["opaque"] = block.opaque
    return shown
