"""A turn as a client sees it: order of events, tools, approvals, limits."""

import json
import re
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.e2e.people import waiting
from tests.e2e.stack import APPROVAL, Frame, Stack, Told, answer, new_session, say, wait_until


def kinds(told: Told) -> list[str]:
    """The frames' names, runs of deltas folded into one."""
    names = [next(iter(frame)) for frame in told.frames]
    return [n for i, n in enumerate(names) if n != "contentBlockDelta" or names[i - 1] != n]


def assert_indices_ascend(told: Told) -> None:
    last = -1
    for frame in told.frames:
        if "messageStart" in frame:
            last = -1
        if "contentBlockStop" in frame:
            index = frame["contentBlockStop"]["contentBlockIndex"]
            assert index > last
            last = index


def refused(call: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value


@pytest.mark.wire("stream.text", "stream.live", "stop.end_turn")
def test_a_text_turn_streams_in_awss_order(stack: Stack) -> None:
    arn = stack.harness()
    # The worker that has just started still loads its model gateway during its first call.
    stack.invoke(arn, new_session(), say("Count to 1"))
    told = stack.invoke(arn, new_session(), say("Count to 40"))
    assert kinds(told) == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert told.stops == ["end_turn"]
    deltas = [f for f in told.frames if "contentBlockDelta" in f]
    assert len(deltas) >= 10, "tokens must arrive one by one"
    usage = told.frames[-1]["metadata"]["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0


@pytest.mark.wire(
    "stream.tool-use",
    "stream.tool-result",
    "stream.metadata",
    "stream.block-index",
    "stop.tool_use",
    "stop.tool_result",
)
def test_a_command_runs_in_the_environment_and_its_result_is_streamed(stack: Stack) -> None:
    told = stack.invoke(
        stack.harness(), new_session(), say("Run the shell command `echo $((6 * 7)) from $HOME`")
    )
    assert told.stops == ["tool_use", "tool_result", "end_turn"]
    assert [use["name"] for use in told.tool_uses] == ["shell"]
    result = json.loads(told.results[0])
    assert result["exit_code"] == 0
    assert result["stdout"] == "42 from /mnt/session\n"
    assert "42" in told.text
    assert sum("metadata" in frame for frame in told.frames) == 2
    assert_indices_ascend(told)


@pytest.mark.wire("session.continues")
def test_files_stay_for_the_next_turn_of_the_session(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stack.invoke(arn, session, say("Write the file `notes/plan.txt` containing `ship it`"))
    told = stack.invoke(arn, session, say("Run the shell command `cat notes/plan.txt`"))
    assert json.loads(told.results[0])["stdout"].strip() == "ship it"


@pytest.mark.wire("stream.parallel", "limit.iterations")
def test_independent_calls_run_at_once_and_results_keep_call_order(stack: Stack) -> None:
    told = stack.invoke(
        stack.harness(),
        new_session(),
        say(
            "At the same time: Run the shell command `sleep 1; date +%s%N` "
            "and run the shell command `date +%s%N`"
        ),
        maxIterations=2,
    )
    assert len(told.tool_uses) == 2
    assert told.stops == ["tool_use", "tool_result", "end_turn"]
    results = [
        frame["contentBlockStart"]["start"]["toolResult"]["toolUseId"]
        for frame in told.frames
        if "toolResult" in frame.get("contentBlockStart", {}).get("start", {})
    ]
    assert results == [use["toolUseId"] for use in told.tool_uses]
    slow, quick = (int(n) for n in re.findall(r'"stdout": ?"(\d+)', told.results[0]))
    assert slow > quick, "the second command did not wait for the first"


def ask_for_approval(stack: Stack, session: str) -> tuple[str, Told]:
    arn = stack.harness(tools=[APPROVAL])
    return arn, stack.invoke(arn, session, say("Ask for approval to delete the old backups"))


@pytest.mark.wire("inline.hand-over", "inline.september", "inline.echo", "stop.tool_use")
def test_an_inline_call_ends_the_stream_and_its_answer_resumes_the_turn(stack: Stack) -> None:
    session = new_session()
    arn, told = ask_for_approval(stack, session)
    assert told.stop_reason == "tool_use"
    (use,) = told.tool_uses
    assert use["name"] == "request_approval"

    resumed = stack.invoke(arn, session, answer((use["toolUseId"], "yes, approved")))
    assert resumed.stops == ["tool_result", "end_turn"]
    assert resumed.results == ["yes, approved"]
    assert "approved" in resumed.text.lower()


def test_an_answer_that_comes_before_its_turn_has_ended_waits_for_that(stack: Stack) -> None:
    arn, session = stack.harness(tools=[APPROVAL]), new_session()
    both = "At the same time: Run the shell command `sleep 2; echo slept` and ask for approval"
    asking = stack.open(arn, session, say(both))
    next(asking)
    (asked,) = wait_until(lambda: waiting(stack, session), what="nothing waits")
    resumed = stack.invoke(arn, session, answer((asked["toolUseId"], "yes, approved")))
    assert resumed.stop_reason == "end_turn"
    assert resumed.results[-1] == "yes, approved"
    assert Told(list(asking)).stop_reason == "tool_use"


@pytest.mark.wire("inline.june")
def test_the_june_form_with_the_assistant_message_resumes_too(stack: Stack) -> None:
    session = new_session()
    arn, told = ask_for_approval(stack, session)
    (use,) = told.tool_uses
    echo: Frame = {
        "role": "assistant",
        "content": [{"toolUse": {**use, "input": {"request": "x"}}}],
    }
    resumed = stack.invoke(arn, session, [echo, *answer((use["toolUseId"], "no, denied"))])
    assert resumed.stops == ["tool_result", "end_turn"]


@pytest.mark.wire("inline.wrong-id", "inline.new-text")
def test_wrong_repeated_and_missing_answers_are_refused_and_lose_nothing(stack: Stack) -> None:
    session = new_session()
    arn, told = ask_for_approval(stack, session)
    (use,) = told.tool_uses
    for messages, says in [
        (answer(("tooluse_other", "yes")), "tooluse_other"),
        (answer((use["toolUseId"], "a"), (use["toolUseId"], "b")), "answered twice"),
        (say("never mind"), use["toolUseId"]),
    ]:
        error = refused(partial(stack.invoke, arn, session, messages))
        assert error.response["Error"]["Code"] == "ValidationException"
        assert says in error.response["Error"]["Message"]
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400

    assert stack.invoke(arn, session, answer((use["toolUseId"], "yes"))).stop_reason == "end_turn"
    again = refused(lambda: stack.invoke(arn, session, answer((use["toolUseId"], "yes"))))
    assert again.response["Error"]["Code"] == "ValidationException"


@pytest.mark.wire(
    "stop.max_iterations_exceeded",
    "stop.max_output_tokens_exceeded",
    "stop.timeout_exceeded",
    "override.limits",
    "limit.tokens",
)
def test_each_limit_has_its_own_stop_reason(stack: Stack) -> None:
    arn = stack.harness()
    work = say("Repeat 5 times: Run the shell command `true`")
    capped = stack.invoke(arn, new_session(), work, maxIterations=2)
    assert capped.stops == ["tool_use", "tool_result"] * 2 + ["max_iterations_exceeded"]
    budget = stack.invoke(arn, new_session(), work, maxTokens=1)
    assert budget.stops == ["tool_use", "tool_result", "max_output_tokens_exceeded"]
    slow = stack.invoke(
        arn, new_session(), say("Run the shell command `sleep 60`"), timeoutSeconds=2
    )
    assert slow.stop_reason == "timeout_exceeded"


@pytest.mark.wire("limit.cut-message")
def test_a_session_goes_on_after_a_limit_with_a_valid_transcript(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stack.invoke(arn, session, say("Run the shell command `sleep 60`"), timeoutSeconds=2)
    told = stack.invoke(arn, session, say("Run the shell command `echo still here`"))
    assert told.stop_reason == "end_turn"
    assert "still here" in told.results[0]


@pytest.mark.wire("stream.model-error", "stream.errors")
def test_a_final_provider_error_ends_the_stream_with_runtime_client_error(stack: Stack) -> None:
    arn = stack.harness(model={"liteLlmModelConfig": {"modelId": "demo/no-such-model"}})
    with pytest.raises(EventStreamError) as failed:
        stack.invoke(arn, new_session(), say("hello"))
    assert failed.value.response["Error"]["Code"] == "runtimeClientError"
    assert "no-such-model" in failed.value.response["Error"]["Message"]


@pytest.mark.wire("invoke.busy")
def test_a_busy_session_is_refused_naming_the_running_invocation_or_queued(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    first = stack.open(arn, session, say("Run the shell command `sleep 2`"), key="first-one")
    next(first)
    error = refused(lambda: stack.invoke(arn, session, say("hello")))
    assert error.response["Error"]["Code"] == "ThrottlingException"
    assert "first-one" in error.response["Error"]["Message"]
    queued = stack.invoke(
        arn, session, say("Count to 3"), headers={"x-everloop-if-busy": "enqueue"}
    )
    assert queued.stop_reason == "end_turn"
    assert Told(list(first)).stop_reason == "end_turn"


@pytest.mark.wire("invoke.idempotency")
def test_the_same_key_attaches_and_other_parameters_under_it_are_refused(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    work = say("Run the shell command `echo once >> effects.txt; cat effects.txt`")
    first = stack.invoke(arn, session, work, key="the-key")
    second = stack.invoke(arn, session, work, key="the-key")
    assert first.messages == second.messages
    assert json.loads(second.results[0])["stdout"] == "once\n"
    error = refused(lambda: stack.invoke(arn, session, say("other"), key="the-key"))
    assert error.response["Error"]["Code"] == "ValidationException"
    assert error.response["reason"] == "IdempotentParameterMismatchException"


@pytest.mark.wire("allowed.enforced")
def test_an_unknown_tool_choice_is_not_offered(stack: Stack) -> None:
    told = stack.invoke(
        stack.harness(allowedTools=["file_operations"]),
        new_session(),
        say("Run the shell command `echo hi`"),
    )
    assert "hi" not in "".join(told.results)
    assert told.stop_reason == "end_turn"


def test_a_repeated_call_gets_its_stream_although_the_harness_is_gone(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    first = stack.invoke(arn, session, say("Count to 3"), key="outlives-its-harness")
    stack.control.delete_harness(harnessId=arn.split("/")[1])
    again = stack.invoke(arn, session, say("Count to 3"), key="outlives-its-harness")
    assert again.messages == first.messages
    error = refused(lambda: stack.invoke(arn, session, say("Count to 3"), key="a-new-call"))
    assert error.response["Error"]["Code"] == "ResourceNotFoundException"
