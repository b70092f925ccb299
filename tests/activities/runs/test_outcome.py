from typing import Any

import pytest

from activities.runs.outcome import state_of
from contracts.errors import AwsError, ErrorDetail
from contracts.messages import (
    Message,
    ReasoningBlock,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolUseBlock,
)
from contracts.records import RunRecord, StoredMessage
from contracts.runs import AdmittedRun, ReadRun
from contracts.usage import PICO_USD_PER_USD, Usage
from everloop.errors import OUTPUT_MISSING
from everloop.runs import MAX_OUTPUT_BYTES

ADMITTED = AdmittedRun("session", "id", "invocation", "arn", "1")
USAGE = Usage(2, TokenUsage(input_tokens=5, output_tokens=2), PICO_USD_PER_USD // 4)


def ended(*blocks: Any, output: dict[str, Any] | None = None, **members: Any) -> RunRecord:
    said = StoredMessage(2, "invocation", Message(role="assistant", blocks=blocks))
    told: dict[str, Any] = {"stop_reason": StopReason.END_TURN, "error": None, **members}
    return RunRecord(live=None, waiting=(), message=said, output=output, usage=USAGE, **told)


def ask(*, wants_output: bool = False, max_text_bytes: int = 1000) -> ReadRun:
    return ReadRun(ADMITTED, wants_output, max_text_bytes)


def test_thoughts_stay_inside() -> None:
    call = ToolUseBlock(id="t", name="shell", input={"command": "true"})
    record = ended(ReasoningBlock(text="hm"), TextBlock(text="Yes."), call)
    outcome = state_of(record, ask()).outcome
    assert outcome is not None
    assert outcome.content == [
        {"text": "Yes."},
        {"toolUse": {"toolUseId": "t", "name": "shell", "input": {"command": "true"}}},
    ]
    assert (outcome.usage["input_tokens"], outcome.cost_usd) == (5, 0.25)


@pytest.mark.parametrize(("room", "text"), [(7, "drei ä"), (6, "drei "), (100, "drei ä!")])
def test_text_is_cut_between_characters(room: int, text: str) -> None:
    outcome = state_of(ended(TextBlock(text="drei ä!")), ask(max_text_bytes=room)).outcome
    assert outcome is not None
    assert outcome.content == [{"text": text}]
    assert outcome.truncated is (text != "drei ä!")


def test_an_output_that_is_missing_or_too_large_is_a_failure() -> None:
    missing = state_of(ended(stop_reason=StopReason.MAX_TOKENS), ask(wants_output=True)).failure
    assert missing is not None
    assert (missing.type, missing.stop_reason) == (OUTPUT_MISSING, "max_tokens")
    large = state_of(ended(output={"x": "y" * MAX_OUTPUT_BYTES}), ask(wants_output=True)).failure
    assert large is not None and str(MAX_OUTPUT_BYTES) in large.message


def test_an_error_of_the_turn_is_the_failure_of_the_run() -> None:
    error = ErrorDetail(AwsError.RUNTIME_CLIENT, "No such model.")
    failure = state_of(ended(stop_reason=None, error=error), ask()).failure
    assert failure is not None
    assert (failure.type, failure.message) == ("RuntimeClientError", "No such model.")
