"""The demo model's rules, as its docstring states them."""

import json
from typing import Any

import pytest

from activities.model.demo.answer import INTRODUCTION, Answer, Call, answer
from activities.model.demo.protocol import ChatRequest
from activities.model.demo.script import ReadFile, Shell, WriteFile, read

SHELL = {"name": "shell", "parameters": {"type": "object"}}
FILES = {"name": "file_operations", "parameters": {"type": "object"}}
APPROVE = {
    "name": "request_approval",
    "parameters": {
        "type": "object",
        "properties": {
            "request": {"type": "string"},
            "level": {"enum": ["low", "high"]},
            "amount": {"type": "integer", "minimum": 3},
            "note": {"type": "string"},
        },
        "required": ["request", "level", "amount"],
    },
}

Json = dict[str, Any]


def ask(*messages: Json, tools: tuple[Json, ...] = (SHELL, FILES, APPROVE)) -> Answer:
    offered = [{"type": "function", "function": tool} for tool in tools]
    return answer(
        ChatRequest.model_validate({"model": "m", "messages": messages, "tools": offered})
    )


def user(text: str) -> Json:
    return {"role": "user", "content": text}


def drive(text: str, results: list[str]) -> tuple[list[tuple[Call, ...]], str]:
    """Play the loop: each call is answered with the next result, until the model only speaks."""
    conversation: list[Json] = [user(text)]
    asked: list[tuple[Call, ...]] = []
    left = iter(results)
    while (said := ask(*conversation)).calls:
        place = len(asked)
        asked.append(said.calls)
        calls = [
            {
                "id": f"c{place}-{index}",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for index, call in enumerate(said.calls)
        ]
        conversation.append({"role": "assistant", "content": said.text, "tool_calls": calls})
        conversation += [
            {"role": "tool", "tool_call_id": call["id"], "content": next(left)} for call in calls
        ]
    return asked, said.text


def test_says_what_it_is_when_it_does_not_understand() -> None:
    assert ask(user("What is the meaning of life?")) == Answer(INTRODUCTION)
    assert "not a language model" in INTRODUCTION


def test_runs_a_command_and_tells_what_came_out() -> None:
    asked, said = drive("Run the shell command `echo a. b`.", ["a. b\n"])
    assert asked == [(Call("shell", {"command": "echo a. b"}),)]
    assert "a. b" in said


def test_several_sentences_are_several_calls_in_order() -> None:
    asked, said = drive(
        "Run the shell command `one`. Write the file `f.txt` with `body`. Run `two`.",
        ["1", "ok", "2"],
    )
    assert asked == [
        (Call("shell", {"command": "one"}),),
        (Call("file_operations", {"command": "create", "path": "f.txt", "file_text": "body"}),),
        (Call("shell", {"command": "two"}),),
    ]
    assert "1" in said and "2" in said


@pytest.mark.parametrize(
    "text",
    [
        "Run the shell commands `a` and `b` in parallel.",
        "Run the shell command `a` and the shell command `b` at the same time",
        "Run the shell command `a` and run the shell command `b` in parallel.",
    ],
)
def test_commands_in_parallel_are_calls_of_one_message(text: str) -> None:
    asked, _ = drive(text, ["1", "2"])
    assert asked == [(Call("shell", {"command": "a"}), Call("shell", {"command": "b"}))]


def test_asks_for_approval_with_arguments_that_fit_the_schema() -> None:
    text = "Please get my approval, then run the shell command `deploy`."
    asked, said = drive(text, ['{"approved": true}', "deployed"])
    assert asked[0] == (Call("request_approval", {"request": text, "level": "low", "amount": 3}),)
    assert asked[1] == (Call("shell", {"command": "deploy"}),)
    assert "It was approved." in said and "deployed" in said


@pytest.mark.parametrize(
    "refusal", ["no", '{"approved": false}', "Not approved", "false", "denied"]
)
def test_does_nothing_more_after_a_refusal(refusal: str) -> None:
    asked, said = drive("Ask for approval. Run the shell command `deploy`.", [refusal])
    assert len(asked) == 1
    assert "It was not approved" in said


def test_repeats_as_often_as_asked_even_when_the_beginning_is_out_of_sight() -> None:
    request = "Repeat 3 times: Run the shell command `date`"
    asked, _ = drive(request, ["1", "2", "3"])
    assert len(asked) == 3
    newest_only = ask(
        user(request),
        {
            "role": "assistant",
            "content": "Step 2 of 3: I run `date`.",
            "tool_calls": [{"id": "x", "function": {"name": "shell", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "2"},
    )
    assert newest_only.text.startswith("Step 3 of 3")


def test_counts() -> None:
    assert ask(user("Count to 4")).text == "1 2 3 4"


def test_reads_only_the_newest_text_of_the_user() -> None:
    said = ask(
        user("Run the shell command `old`."),
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": [{"type": "text", "text": "Count to 2"}]},
    )
    assert said == Answer("1 2")


def test_says_so_when_a_tool_is_not_offered() -> None:
    assert "`shell`" in ask(user("Run the shell command `a`."), tools=()).text
    assert "no inline function" in ask(user("Ask for approval."), tools=(SHELL,)).text


def test_backticked_text_is_taken_as_it_stands() -> None:
    plan = read(
        "Run the shell command `a; b! Write the file`. Read the file `x`. "
        "Write a file `p` containing `then\nq`"
    )
    assert plan.steps == (
        (Shell("a; b! Write the file"),),
        (ReadFile("x"),),
        (WriteFile("p", "then\nq"),),
    )
