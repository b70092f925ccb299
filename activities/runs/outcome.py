"""From a turn in the store to what its caller gets: bounded, in the words of AWS's wire."""

import json
from typing import Any

from contracts.errors import AwsError, ServiceError
from contracts.messages import Message, StopReason, TextBlock, ToolUseBlock
from contracts.records import RunRecord
from contracts.runs import ReadRun, RunFailure, RunState
from contracts.usage import PICO_USD_PER_USD
from everloop.errors import OUTPUT_MISSING, STOPPED
from everloop.runs import MAX_OUTPUT_BYTES, HarnessOutcome
from store import Store

Json = dict[str, Any]

_DELETED = RunState(failure=RunFailure(STOPPED, "The session was deleted."))


async def read_state(store: Store, ask: ReadRun) -> RunState:
    """How a run stands; one whose session was deleted has failed."""
    try:
        record = await store.runs.get(ask.admitted.session, ask.admitted.invocation_id)
    except ServiceError as missing:
        if missing.detail.error is not AwsError.NOT_FOUND:
            raise
        return _DELETED
    return state_of(record, ask)


def state_of(record: RunRecord, ask: ReadRun) -> RunState:
    """How a run stands, for whoever waits for it."""
    if record.deleted:
        return _DELETED
    if not record.over:
        return RunState(waiting=record.live is None, below=record.below)
    if record.error is not None:
        failure = RunFailure(record.error.error.value, record.error.message)
        return RunState(failure=failure)
    stop_reason = record.stop_reason or StopReason.INTERRUPTED
    if ask.wants_output and (why := _unusable(record.output, stop_reason)):
        return RunState(failure=RunFailure(OUTPUT_MISSING, why, stop_reason.value))
    cost = record.usage.cost_pico_usd
    content, truncated = _content(record.message and record.message.message, ask.max_text_bytes)
    return RunState(
        outcome=HarnessOutcome(
            session_id=ask.admitted.session_id,
            invocation_id=ask.admitted.invocation_id,
            harness_arn=ask.admitted.harness_arn,
            harness_version=ask.admitted.harness_version,
            stop_reason=stop_reason,
            content=content,
            truncated=truncated,
            output=record.output if ask.wants_output else None,
            usage=record.usage.tokens.model_dump(),
            cost_usd=None if cost is None else cost / PICO_USD_PER_USD,
        )
    )


def _unusable(output: Json | None, stop_reason: StopReason) -> str | None:
    if output is None:
        return f"the agent ended without a result that fits the schema: {stop_reason.value}"
    size = len(json.dumps(output))
    if size > MAX_OUTPUT_BYTES:
        return f"the result has {size} bytes of JSON; at most {MAX_OUTPUT_BYTES} are returned"
    return None


def _content(message: Message | None, max_bytes: int) -> tuple[list[Json], bool]:
    """Text and tool calls of a message, and whether any of it was cut."""
    content: list[Json] = []
    left, truncated = max_bytes, False
    for block in message.blocks if message else ():
        if isinstance(block, TextBlock):
            text = block.text.encode()[:left].decode(errors="ignore")
            left -= len(text.encode())
            truncated |= len(text) < len(block.text)
            content.append({"text": text})
        elif isinstance(block, ToolUseBlock):
            use = {"toolUseId": block.id, "name": block.name, "input": block.input}
            size = len(json.dumps(use))
            if size > left:
                truncated = True
                continue
            left -= size
            content.append({"toolUse": use})
    return content, truncated
