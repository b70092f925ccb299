"""The log as a stream: whatever a client happened to see, it ends up with the same conversation."""

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import EventStreamError
from hypothesis import given, settings
from hypothesis import strategies as st

from api.frames import KEEP_ALIVE, Frame
from api.render import Renderer
from contracts.errors import AwsError, FieldError, Reason
from contracts.events import (
    NO_STEP,
    BlockDelta,
    Delta,
    Ended,
    Event,
    Handover,
    Opened,
    Payload,
    Refused,
    Results,
    Settled,
)
from contracts.messages import (
    Block,
    Message,
    ReasoningBlock,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolStatus,
    ToolUseBlock,
)
from contracts.records import CallRecord
from contracts.tools import CallState, ToolKind
from tests.api import reader
from tests.api.oracle import read_events

USAGE = TokenUsage(input_tokens=10, output_tokens=4, cache_read_input_tokens=2)


def row(payload: Payload, step: int = NO_STEP, attempt: int = 0) -> Event:
    return Event(cursor=1, invocation_id="i", step=step, attempt=attempt, index=0, payload=payload)


def delta(*pieces: BlockDelta, step: int = 0, attempt: int = 1) -> Event:
    return row(Delta(pieces=pieces), step, attempt)


def text(piece: str, block: int = 0) -> BlockDelta:
    return BlockDelta(block=block, text=piece)


def settled(step: int = 0, attempt: int = 1) -> Event:
    return row(Settled(seq=2, usage=USAGE, latency_ms=120), step, attempt)


def says(*blocks: Block, stop: StopReason = StopReason.END_TURN) -> Message:
    return Message(role="assistant", blocks=blocks, stop_reason=stop)


def call(name: str, *content: str, status: ToolStatus = ToolStatus.SUCCESS) -> CallRecord:
    return CallRecord(
        id=name,
        session="s",
        invocation_id="i",
        step=0,
        seq=2,
        position=0,
        name="shell",
        kind=ToolKind.SANDBOX,
        queue=None,
        timeout_s=60,
        input={"command": name},
        digest="",
        state=CallState.DONE,
        status=status,
        content=content,
    )


def names(frames: list[Frame]) -> list[str]:
    return [frame.name for frame in frames]


def data(frames: list[Frame]) -> bytes:
    return b"".join(frame.encode() for frame in frames)


def end(reason: StopReason = StopReason.END_TURN) -> Event:
    return row(Ended(stop_reason=reason))


@pytest.mark.wire("stream.text", "stream.no-text-start", "stream.metadata")
def test_a_text_turn_has_the_frames_that_aws_sends():
    renderer = Renderer()
    assert renderer.feed(row(Opened())) == []
    live = renderer.feed(delta(text("Hel")))
    assert [(frame.name, frame.payload) for frame in live] == [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
    ]
    rest = renderer.feed(settled(), says(TextBlock(text="Hello")))
    usage = {
        "inputTokens": 10,
        "outputTokens": 4,
        "totalTokens": 14,
        "cacheReadInputTokens": 2,
        "cacheWriteInputTokens": 0,
    }
    assert [(frame.name, frame.payload) for frame in rest] == [
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 120}}),
    ]
    assert renderer.feed(end()) == []
    assert renderer.ended


@pytest.mark.wire("stream.tool-use", "stream.tool-result")
def test_a_tool_turn_shows_the_call_and_its_result():
    use = ToolUseBlock(id="t1", name="shell", input={"a": 1}, input_text='{"a": 1}')
    renderer = Renderer()
    frames = renderer.feed(
        settled(), says(TextBlock(text="Let me."), use, stop=StopReason.TOOL_USE)
    )
    frames += renderer.feed(row(Results(tool_use_ids=("t1",))), calls=[call("t1", "a", "b")])
    frames += renderer.feed(settled(step=1), says(TextBlock(text="Done.")))
    frames += renderer.feed(end())
    first, result, last = reader.read(data(frames))
    assert (first.stop, result.stop, last.stop) == ("tool_use", "tool_result", "end_turn")
    assert first.blocks[1].start == {"toolUse": {"toolUseId": "t1", "name": "shell"}}
    assert first.blocks[1].input == '{"a": 1}'
    assert (result.role, result.usage) == ("user", None)
    assert result.blocks[0].start == {"toolResult": {"toolUseId": "t1", "status": "success"}}
    assert result.blocks[0].results == ["a", "b"]
    assert (last.text, last.usage and last.usage["inputTokens"]) == ("Done.", 10)


@pytest.mark.wire("stream.long-results", "stream.tool-result")
def test_long_results_are_split_and_empty_ones_have_no_piece():
    long = "x" * 20_000
    calls = [call("t1", long), call("t2", ""), call("t3", "no", status=ToolStatus.ERROR)]
    ids = tuple(each.id for each in calls)
    (told,) = reader.read(data(Renderer().feed(row(Results(tool_use_ids=ids)), calls=calls)))
    assert [len(piece) for piece in told.blocks[0].results] == [8192, 8192, 3616]
    assert "".join(told.blocks[0].results) == long
    assert told.blocks[1].results == []
    assert told.blocks[2].start["toolResult"]["status"] == "error"


@pytest.mark.wire("stream.empty-input")
def test_a_call_without_arguments_sends_an_empty_object():
    use = ToolUseBlock(id="t1", name="shell", input_text="")
    (told,) = reader.read(data(Renderer().feed(settled(), says(use))))
    assert told.blocks[0].input == "{}"


@pytest.mark.wire("stream.empty-input")
def test_a_call_that_streamed_no_arguments_is_complete_when_the_next_begins():
    renderer = Renderer()
    frames = renderer.feed(
        delta(
            BlockDelta(block=0, tool_use_id="t1", tool_name="now"),
            BlockDelta(block=1, tool_use_id="t2", tool_name="now"),
        )
    )
    uses = [ToolUseBlock(id=each, name="now") for each in ("t1", "t2")]
    frames += renderer.feed(settled(), says(*uses))
    (told,) = reader.read(data(frames))
    assert [block.input for block in told.blocks] == ["{}", "{}"]


@pytest.mark.wire("stream.retried-call", "stop.interrupted")
def test_a_higher_attempt_interrupts_what_was_shown():
    renderer = Renderer()
    frames = renderer.feed(delta(text("Once up")))
    frames += renderer.feed(delta(text("There was"), attempt=2))
    assert renderer.feed(delta(text("on a time"), attempt=1)) == []
    frames += renderer.feed(settled(attempt=2), says(TextBlock(text="There was one.")))
    frames += renderer.feed(end())
    shown = [(told.text, told.stop) for told in reader.read(data(frames))]
    assert shown == [("Once up", "interrupted"), ("There was one.", "end_turn")]


def test_a_message_settled_by_an_unseen_attempt_interrupts_what_was_shown():
    renderer = Renderer()
    frames = renderer.feed(delta(text("Once")))
    frames += renderer.feed(settled(attempt=2), says(TextBlock(text="Once more")))
    shown = [(told.text, told.stop) for told in reader.read(data(frames))]
    assert shown == [("Once", "interrupted"), ("Once more", "end_turn")]


@pytest.mark.parametrize(
    "blocks",
    [
        (TextBlock(text="Other"),),
        (),
        (ReasoningBlock(text="Text"),),
        (TextBlock(text="Tex"), TextBlock(text="t")),
    ],
)
def test_a_message_that_differs_from_its_deltas_is_sent_anew(blocks: tuple[Block, ...]):
    renderer = Renderer()
    frames = renderer.feed(delta(text("Text")))
    frames += renderer.feed(settled(), says(*blocks))
    first, second = reader.read(data(frames))
    assert (first.text, first.stop) == ("Text", "interrupted")
    assert len(second.blocks) == len(blocks)
    assert second.stop == "end_turn"


def test_text_that_continues_a_closed_block_is_sent_anew():
    renderer = Renderer()
    use = BlockDelta(block=1, tool_use_id="t1", tool_name="shell")
    frames = renderer.feed(delta(text("One"), use, text(" two")))
    block = ToolUseBlock(id="t1", name="shell")
    frames += renderer.feed(settled(), says(TextBlock(text="One two"), block))
    first, second = reader.read(data(frames))
    assert (first.stop, second.text) == ("interrupted", "One two")


@pytest.mark.parametrize("reason", [StopReason.TIMEOUT_EXCEEDED, StopReason.END_TURN])
def test_the_end_closes_an_open_message(reason: StopReason):
    renderer = Renderer()
    frames = renderer.feed(delta(text("Once"), BlockDelta(block=1, tool_use_id="t", tool_name="n")))
    frames += renderer.feed(end(reason))
    (told,) = reader.read(data(frames))
    assert (told.text, told.stop, told.blocks[1].input) == ("Once", reason, "")


@pytest.mark.wire("stop.max_iterations_exceeded")
def test_a_limit_after_results_is_a_bare_stop():
    renderer = Renderer()
    renderer.feed(settled(), says(ToolUseBlock(id="t1", name="shell"), stop=StopReason.TOOL_USE))
    renderer.feed(row(Results(tool_use_ids=("t1",))), calls=[call("t1", "a")])
    frames = renderer.feed(end(StopReason.MAX_ITERATIONS_EXCEEDED))
    assert [(frame.name, frame.payload) for frame in frames] == [
        ("messageStop", {"stopReason": "max_iterations_exceeded"})
    ]


@pytest.mark.wire("inline.partial")
def test_handed_over_calls_are_shown_again():
    renderer = Renderer()
    renderer.feed(row(Results(tool_use_ids=("t1",))), calls=[call("t1", "a")])
    pending = [call("t2"), call("t3")]
    frames = renderer.feed(row(Handover(tool_use_ids=("t2", "t3"))), calls=pending)
    assert renderer.feed(end(StopReason.TOOL_USE)) == []
    (told,) = reader.read(data(frames))
    assert told.stop == "tool_use"
    assert [reader.described(block) for block in told.blocks] == [
        ("tool", "t2", "shell", {"command": "t2"}),
        ("tool", "t3", "shell", {"command": "t3"}),
    ]


@pytest.mark.wire("stream.errors")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AwsError.RUNTIME_CLIENT, "runtimeClientError"),
        (AwsError.VALIDATION, "validationException"),
        (AwsError.INTERNAL, "internalServerException"),
        (AwsError.THROTTLING, "internalServerException"),
    ],
)
def test_an_error_ends_the_stream_as_an_exception(error: AwsError, code: str):
    renderer = Renderer()
    renderer.feed(delta(text("Once")))
    frames = renderer.feed(row(Ended(error=error, message="It broke.")))
    assert len(frames) == 1 and renderer.ended
    with pytest.raises(EventStreamError) as raised:
        read_events("bedrock-agentcore", "InvokeHarness", data(frames))
    assert raised.value.response["Error"] == {"Code": code, "Message": "It broke."}


def test_a_late_refusal_is_an_exception_with_its_fields():
    refused = Refused(
        error=AwsError.VALIDATION,
        message="No.",
        reason=Reason.RESOURCE_CONFLICT,
        fields=(FieldError("messages", "no"),),
    )
    (frame,) = Renderer().feed(row(refused))
    assert frame.is_exception
    assert frame.payload == {
        "message": "No.",
        "reason": "ResourceConflict",
        "fieldList": [{"name": "messages", "message": "no"}],
    }


@pytest.mark.wire("stream.silence")
def test_botocore_drops_the_keep_alive():
    renderer = Renderer()
    frames = [*renderer.feed(delta(text("One"))), KEEP_ALIVE]
    frames += renderer.feed(settled(), says(TextBlock(text="One")))
    assert [each.text for each in reader.read(data(frames))] == ["One"]


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TEXTS = WORDS.map(lambda value: TextBlock(text=value))
THOUGHTS = st.builds(
    ReasoningBlock, text=WORDS, signature=st.none() | st.text("abc=", min_size=1, max_size=6)
) | st.binary(min_size=1, max_size=6).map(
    lambda value: ReasoningBlock(redacted=base64.b64encode(value).decode())
)
ARGUMENTS = st.dictionaries(WORDS, st.integers() | WORDS, max_size=2)


@st.composite
def messages(draw: st.DrawFn, stop: StopReason) -> Message:
    blocks: list[Block] = draw(st.lists(TEXTS | THOUGHTS, max_size=3))
    count = draw(st.integers(1, 2)) if stop is StopReason.TOOL_USE else 0
    for number in range(count):
        arguments = draw(ARGUMENTS)
        written = json.dumps(arguments) if arguments or draw(st.booleans()) else ""
        blocks.append(
            ToolUseBlock(id=f"t{number}", name="shell", input=arguments, input_text=written)
        )
    return says(*blocks, stop=stop)


def fragments(draw: st.DrawFn, whole: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=3)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def streamed(draw: st.DrawFn, message: Message) -> list[BlockDelta]:
    """The pieces in which a model may stream a message, empty ones among them."""
    pieces: list[BlockDelta] = []
    for number, block in enumerate(message.blocks):
        match block:
            case TextBlock():
                pieces += [BlockDelta(block=number, text=p) for p in fragments(draw, block.text)]
            case ReasoningBlock():
                thought = fragments(draw, block.text)
                pieces += [BlockDelta(block=number, reasoning=p) for p in thought]
                for name in ("signature", "redacted"):
                    whole = getattr(block, name)
                    parts = fragments(draw, whole) if whole else []
                    pieces += [BlockDelta.model_validate({"block": number, name: p}) for p in parts]
            case ToolUseBlock():
                pieces.append(BlockDelta(block=number, tool_use_id=block.id, tool_name=block.name))
                written = fragments(draw, block.input_text)
                pieces += [BlockDelta(block=number, input=p) for p in written]
            case _:
                raise AssertionError(block)
    return pieces


Fed = tuple[Event, Message | None, list[CallRecord]]


@st.composite
def seen_logs(draw: st.DrawFn) -> tuple[list[Fed], list[Any]]:
    """Rows of an invocation as one client sees them, and what was settled.

    Of each attempt a client sees some of the first deltas: the rest was dropped before it looked.
    """
    seen: list[Fed] = [(row(Opened()), None, [])]
    truth: list[Any] = []
    steps = draw(st.integers(1, 3))
    for step in range(steps):
        stop = StopReason.TOOL_USE if step < steps - 1 else StopReason.END_TURN
        attempts = draw(st.integers(1, 3))
        message = draw(messages(stop))
        for attempt in range(1, attempts + 1):
            said = message if attempt == attempts else draw(messages(stop))
            pieces = streamed(draw, said)
            looked_at = pieces[: draw(st.integers(0, len(pieces)))]
            seen += [(delta(each, step=step, attempt=attempt), None, []) for each in looked_at]
        seen.append((settled(step, attempts), message, []))
        truth.append((stop.value, [described(block) for block in message.blocks]))
        if stop is StopReason.TOOL_USE:
            calls = [call(use.id, draw(st.text(max_size=5))) for use in message.tool_uses]
            ids = tuple(each.id for each in calls)
            seen.append((row(Results(tool_use_ids=ids), step, attempts), None, calls))
            truth.append(("tool_result", [[p for p in each.content if p] for each in calls]))
    seen.append((end(), None, []))
    return seen, truth


def described(block: Block) -> tuple[Any, ...]:
    match block:
        case TextBlock():
            return ("text", block.text)
        case ReasoningBlock():
            redacted = base64.b64decode(block.redacted or "")
            return ("reasoning", block.text, block.signature or "", redacted)
        case ToolUseBlock():
            return ("tool", block.id, block.name, block.input)
        case _:
            raise AssertionError(block)


@pytest.mark.wire("stream.reasoning")
@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(seen_logs())
def test_every_view_of_a_log_tells_the_same_conversation(log: tuple[list[Fed], list[Any]]):
    seen, truth = log
    renderer = Renderer()
    frames = [
        frame for event, message, calls in seen for frame in renderer.feed(event, message, calls)
    ]
    told = [each for each in reader.read(data(frames)) if each.stop != "interrupted"]
    assert [(each.stop, _shown(each)) for each in told] == truth
    assert renderer.ended


def _shown(told: reader.Told) -> list[Any]:
    if told.role == "user":
        return [block.results for block in told.blocks]
    return [reader.described(block) for block in told.blocks]
