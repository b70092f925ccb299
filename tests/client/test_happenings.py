from io import StringIO

from rich.console import Console

from everloop.cli.happenings import (
    Failure,
    Happening,
    MessageEnd,
    Reader,
    TextPiece,
    ThoughtPiece,
    ToolCall,
    ToolResult,
)
from everloop.cli.once import Once
from everloop.cli.view import SHOWN_LINES, View, describe, readable
from everloop.types import TokenUsage
from tests.client.scripted_api import Json, call_message, result_message, text_message


def read(reader: Reader, events: list[tuple[str, Json]]) -> list[Happening]:
    return [happening for name, body in events for happening in reader.feed({name: body})]


def shown(happenings: list[Happening]) -> str:
    output = StringIO()
    view = View(Console(file=output, soft_wrap=True, no_color=True))
    for happening in happenings:
        view.show(happening)
    return output.getvalue()


def test_reads_a_turn_with_a_tool() -> None:
    reader = Reader()
    happenings = read(
        reader,
        [
            *call_message(("t1", "shell", {"command": "date"})),
            *result_message(("t1", "success", ["Mon", "day"])),
            *text_message("It is ", "Monday."),
        ],
    )
    assert happenings == [
        ToolCall("t1", "shell", {"command": "date"}),
        MessageEnd("assistant", "tool_use"),
        ToolResult("t1", "shell", "success", "Monday"),
        MessageEnd("user", "tool_result"),
        TextPiece("It is "),
        TextPiece("Monday."),
        MessageEnd("assistant", "end_turn"),
    ]
    assert reader.usage == TokenUsage(input_tokens=20, output_tokens=10)
    assert reader.model_calls == 2
    assert not reader.waits_for_answers


def test_blocks_of_one_message_may_share_an_index() -> None:
    events = call_message(("t1", "shell", {"command": "a"}), ("t2", "shell", {"command": "b"}))
    for _, body in events:
        if "contentBlockIndex" in body:
            body["contentBlockIndex"] = 0
    happenings = read(Reader(), events)
    assert [call.input for call in happenings if isinstance(call, ToolCall)] == [
        {"command": "a"},
        {"command": "b"},
    ]


def test_calls_without_a_result_wait_for_answers() -> None:
    reader = Reader()
    read(
        reader,
        [
            *call_message(("t1", "shell", {}), ("t2", "ask", {}), ("t3", "ask", {})),
            *result_message(("t1", "success", ["done"])),
            *call_message(("t2", "ask", {}), ("t3", "ask", {})),
        ],
    )
    assert reader.waits_for_answers and list(reader.pending) == ["t2", "t3"]
    read(reader, [*result_message(("t2", "success", ["yes"])), *call_message(("t3", "ask", {}))])
    assert reader.waits_for_answers and list(reader.pending) == ["t3"]
    read(reader, [*result_message(("t3", "success", ["no"])), *text_message("Thanks.")])
    assert not reader.waits_for_answers


def test_an_interrupted_message_leaves_no_call_waiting() -> None:
    events = call_message(("t1", "ask", {}))
    events[-2] = ("messageStop", {"stopReason": "interrupted"})
    reader = Reader()
    read(reader, events)
    assert not reader.waits_for_answers and not reader.pending


def test_arguments_that_are_missing_or_broken_are_kept_as_they_are() -> None:
    start = {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "n"}}}
    stop = ("contentBlockStop", {"contentBlockIndex": 0})
    broken = {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"a'}}}
    assert read(Reader(), [("contentBlockStart", start), stop]) == [ToolCall("t", "n", {})]
    assert read(Reader(), [("contentBlockStart", start), ("contentBlockDelta", broken), stop]) == [
        ToolCall("t", "n", '{"a')
    ]


def test_an_error_member_is_a_failure_and_unknown_members_are_nothing() -> None:
    reader = Reader()
    assert reader.feed({"runtimeClientError": {"message": "no such model"}}) == [
        Failure("RuntimeClientError", "no such model")
    ]
    assert reader.feed({"somethingNew": {}}) == []


def test_shows_text_calls_and_results_readably() -> None:
    text = shown(
        [
            ThoughtPiece("Hmm."),
            TextPiece("I look "),
            TextPiece("at it."),
            ToolCall("t1", "shell", {"command": "ls\npwd", "timeout": 5}),
            ToolResult("t1", "shell", "error", "no such file"),
            MessageEnd("assistant", "interrupted"),
            TextPiece("Done."),
            MessageEnd("assistant", "end_turn"),
        ]
    )
    assert text == (
        "Hmm.\nI look at it.\n▸ shell\n  │ command:\n  │   ls\n  │   pwd\n  │ timeout: 5\n"
        "◂ error\n  │ no such file\n(cut off; the model begins this message again)\nDone.\n"
    )


def test_long_results_are_cut_and_say_so() -> None:
    text = shown([ToolResult("t", "shell", "success", "line\n" * (SHOWN_LINES + 3))])
    assert text.count("line\n") == SHOWN_LINES
    assert "… 3 lines more" in text


def test_control_characters_never_reach_the_terminal() -> None:
    evil = "a\x1b[2Jb\x07c\x9bd\re"
    text = shown([TextPiece(evil), ToolCall("t", evil, {"x": evil}), ToolResult("t", "", "", evil)])
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(text)
    assert "a[2Jbcde" in text
    assert "[/nonsense]" in shown([TextPiece("[bold]x[/nonsense]")])


def test_a_result_in_json_is_shown_by_member() -> None:
    said = '{"stdout": "a\\nb\\n", "stderr": "", "exit_code": 0}'
    assert readable(said) == "stdout:\n  a\n  b\nexit_code: 0"
    assert readable("plain") == "plain"
    assert readable("[1]") == "[1]"
    assert readable("") == "(empty)"


def test_arguments_are_described_by_name() -> None:
    assert describe({}) == "(no arguments)"
    assert describe({"n": 1, "ok": True}) == "n: 1\nok: true"
    assert describe("raw") == "raw"


def test_a_second_stream_adds_only_what_is_new() -> None:
    once = Once()
    first = [
        *call_message(("t1", "shell", {})),
        *result_message(("t1", "success", ["x"])),
        *text_message("Hello wor")[:2],
    ]
    whole = [
        *call_message(("t1", "shell", {})),
        *result_message(("t1", "success", ["x"])),
        *text_message("Hel", "lo world", "."),
    ]
    passed = _through(once, first) + _through(once, whole)
    assert passed == [
        ToolCall("t1", "shell", {}),
        MessageEnd("assistant", "tool_use"),
        ToolResult("t1", "shell", "success", "x"),
        MessageEnd("user", "tool_result"),
        TextPiece("Hello wor"),
        TextPiece("ld"),
        TextPiece("."),
        MessageEnd("assistant", "end_turn"),
    ]


def test_a_message_that_was_retracted_meanwhile_is_told_whole() -> None:
    once = Once()
    _through(once, text_message("Hello wor")[:2])
    passed = _through(once, text_message("Good ", "day"))
    assert passed[:-1] == [TextPiece("\nGood "), TextPiece("day")]


def test_an_interrupted_message_is_not_counted_as_settled() -> None:
    once = Once()
    _through(once, [*text_message("One", stop="interrupted")[:-1], *text_message("Two")[:2]])
    assert _through(once, text_message("Two", "!")) == [
        TextPiece("!"),
        MessageEnd("assistant", "end_turn"),
    ]


def _through(once: Once, events: list[tuple[str, Json]]) -> list[Happening]:
    once.attach()
    fresh = [once.fresh(happening) for happening in read(Reader(), events)]
    return [happening for happening in fresh if happening is not None]
