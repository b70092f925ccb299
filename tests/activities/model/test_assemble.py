"""Chunks become one settled message, however the stream was cut into pieces."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.model.assemble import Assembler, Settled, mint_tool_use_id
from activities.model.chunks import (
    CallInput,
    CallOpened,
    Chunk,
    Finish,
    Opaque,
    Reasoning,
    Redacted,
    Signature,
    Text,
    Usage,
)
from activities.model.mapping import Target, Thoughts
from contracts.errors import ModelFailed, ModelFault
from contracts.events import BlockDelta
from contracts.ids import TOOL_USE_ID
from contracts.messages import (
    Origin,
    ReasoningBlock,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolUseBlock,
)

CLAUDE = Target("anthropic/claude-x", Origin.CLAUDE, Thoughts.BLOCKS)
DONE = Finish("stop")


def assemble(*chunks: Chunk, target: Target = CLAUDE) -> tuple[Settled, list[BlockDelta]]:
    numbers = iter(range(100))
    assembler = Assembler(target, mint=lambda: f"tooluse_{next(numbers)}")
    pieces = [piece for chunk in chunks if (piece := assembler.add(chunk)) is not None]
    return assembler.settle(), pieces


def split(text: str, cuts: Sequence[int]) -> list[str]:
    places = [0, *sorted({cut % (len(text) + 1) for cut in cuts}), len(text)]
    return [text[a:b] for a, b in zip(places, places[1:], strict=False)]


ARGUMENTS = st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=8), st.integers()))
CUTS = st.lists(st.integers(min_value=0, max_value=200), max_size=8)


@given(text=st.text(min_size=1), arguments=ARGUMENTS, cuts=CUTS, shuffle=st.randoms())
def test_any_split_of_the_stream_gives_the_same_message(
    text: str, arguments: dict[str, Any], cuts: list[int], shuffle: Any
) -> None:
    whole = json.dumps(arguments)
    fragments = [[CallInput(index, part) for part in split(whole, cuts)] for index in (0, 1)]
    interleaved: list[Chunk] = []
    while any(fragments):
        interleaved.append(shuffle.choice([left for left in fragments if left]).pop(0))
    settled, pieces = assemble(
        *(Text(part) for part in split(text, cuts) if part),
        CallOpened(0, "a", "f"),
        CallOpened(1, "b", "g"),
        *interleaved,
        Finish("tool_calls"),
    )
    said, first, second = settled.message.blocks
    assert said == TextBlock(text=text)
    for use in (first, second):
        assert isinstance(use, ToolUseBlock)
        assert use.input == arguments
        assert use.input_text == whole
    streamed = {0: "", 1: "", 2: ""}
    for piece in pieces:
        streamed[piece.block] += (piece.text or "") + (piece.input or "")
    assert streamed == {0: text, 1: whole, 2: whole}


@pytest.mark.wire("stream.tool-use-id")
def test_ids_are_our_own_whatever_the_provider_sends() -> None:
    settled, pieces = assemble(CallOpened(0, "call/with+bad=chars", "f"), Finish("tool_calls"))
    assert settled.message.tool_uses[0].id == pieces[0].tool_use_id == "tooluse_0"
    minted = {mint_tool_use_id() for _ in range(50)}
    assert len(minted) == 50
    assert all(TOOL_USE_ID.fullmatch(one) and len(one) == 30 for one in minted)


@pytest.mark.wire("tools.no-arguments")
@pytest.mark.parametrize("pieces", [(), ("",), (" ", "\n")])
def test_a_call_without_arguments_has_an_empty_object(pieces: tuple[str, ...]) -> None:
    fragments = (CallInput(0, piece) for piece in pieces)
    settled, _ = assemble(CallOpened(0, "a", "f"), *fragments, Finish("tool_calls"))
    (use,) = settled.message.tool_uses
    assert (use.input, use.input_text) == ({}, "{}")
    assert settled.failures == {}


@pytest.mark.parametrize("text", ['{"a": ', "[1]", '"x"', "nonsense"])
def test_arguments_that_are_no_object_fail_that_call_only(text: str) -> None:
    settled, _ = assemble(
        CallOpened(0, "a", "f"),
        CallInput(0, text),
        CallOpened(1, "b", "g"),
        CallInput(1, '{"x": 1}'),
        Finish("tool_calls"),
    )
    bad, good = settled.message.tool_uses
    assert (bad.input, bad.input_text) == ({}, text)
    assert good.input == {"x": 1}
    assert list(settled.failures) == [bad.id]
    assert settled.failures[bad.id].startswith("Error: the arguments")


def test_arguments_cut_by_the_token_limit_say_so() -> None:
    settled, _ = assemble(CallOpened(0, "a", "f"), CallInput(0, '{"a'), Finish("length"))
    assert "token limit" in settled.failures["tooluse_0"]
    assert settled.stop_reason is StopReason.TOOL_USE


def test_servers_that_number_all_parallel_calls_alike() -> None:
    settled, _ = assemble(
        CallOpened(0, "a", "f"),
        CallInput(0, '{"n": 1}'),
        CallOpened(0, "b", "f"),
        CallInput(0, '{"n": 2}'),
        Finish("tool_calls"),
    )
    assert [use.input for use in settled.message.tool_uses] == [{"n": 1}, {"n": 2}]


def test_servers_that_repeat_the_head_with_every_fragment() -> None:
    settled, _ = assemble(
        CallOpened(0, "a", "f"),
        CallInput(0, '{"n"'),
        CallOpened(0, "a", "f"),
        CallInput(0, ": 1}"),
        CallOpened(0, "", "f"),
        Finish("tool_calls"),
    )
    assert [use.input for use in settled.message.tool_uses] == [{"n": 1}]


def test_thoughts_keep_their_seals_and_their_family() -> None:
    settled, pieces = assemble(
        Reasoning("a"),
        Reasoning("b"),
        Signature("S1"),
        Reasoning("c"),
        Redacted("UkVE"),
        Text("x"),
        DONE,
    )
    assert settled.message.blocks == (
        ReasoningBlock(text="ab", signature="S1", origin=Origin.CLAUDE),
        ReasoningBlock(text="c", origin=Origin.CLAUDE),
        ReasoningBlock(redacted="UkVE", origin=Origin.CLAUDE),
        TextBlock(text="x"),
    )
    assert [piece.block for piece in pieces] == [0, 0, 0, 1, 2, 3]


def test_geminis_signature_comes_out_of_the_id() -> None:
    gemini = Target("gemini/gemini-3", Origin.GEMINI, Thoughts.SIGNATURES)
    settled, _ = assemble(
        CallOpened(0, "call_1__thought__U0lH", "f"), Finish("tool_calls"), target=gemini
    )
    (use,) = settled.message.tool_uses
    assert use.opaque == {"thought_signature": "U0lH"}
    assert use.origin is Origin.GEMINI


def test_encrypted_reasoning_is_kept_though_nothing_of_it_was_shown() -> None:
    openai = Target("openai/responses/gpt-5", Origin.OPENAI, Thoughts.ITEMS)
    item = {"id": "rs_1", "encrypted_content": "ENC"}
    settled, pieces = assemble(Text("x"), Opaque("reasoning_items", (item,)), DONE, target=openai)
    kept = settled.message.blocks[-1]
    assert isinstance(kept, ReasoningBlock)
    assert kept.opaque == {"reasoning_items": [item], "provider": "openai"}
    assert len(pieces) == 1


@pytest.mark.wire(
    "stop.max_tokens",
    "stop.stop_sequence",
    "stop.content_filtered",
    "stop.malformed_model_output",
)
@pytest.mark.parametrize(
    ("reason", "stop_reason"),
    [
        ("stop", StopReason.END_TURN),
        ("STOP", StopReason.END_TURN),
        ("length", StopReason.MAX_TOKENS),
        ("content_filter", StopReason.CONTENT_FILTERED),
        ("refusal", StopReason.CONTENT_FILTERED),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("malformed_response", StopReason.MALFORMED_MODEL_OUTPUT),
        ("model_context_window_exceeded", StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED),
        ("tool_calls", StopReason.MALFORMED_TOOL_USE),
        ("something new", StopReason.END_TURN),
    ],
)
def test_finish_reasons(reason: str, stop_reason: StopReason) -> None:
    settled, _ = assemble(Text("x"), Finish(reason))
    assert settled.stop_reason is settled.message.stop_reason is stop_reason


def test_a_message_with_calls_always_stops_to_use_them() -> None:
    for reason in ("stop", "length", "tool_calls"):
        settled, _ = assemble(CallOpened(0, "a", "f"), Finish(reason))
        assert settled.stop_reason is StopReason.TOOL_USE


@pytest.mark.parametrize("ending", [[], [Finish("error")], [Finish("network_error")]])
def test_a_stream_that_breaks_off_may_be_tried_again(ending: list[Chunk]) -> None:
    with pytest.raises(ModelFailed) as raised:
        assemble(Text("x"), *ending)
    assert raised.value.fault is ModelFault.CUT_STREAM
    assert raised.value.fault.passes


def test_usage_is_the_providers() -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=2, cache_read_input_tokens=3)
    settled, _ = assemble(Text("x"), DONE, Usage(usage))
    assert settled.usage == usage
