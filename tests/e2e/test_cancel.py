"""Cancelling what runs: the model's stream, a command, what waits in the queue."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from everloop.cli.errors import ApiError
from everloop.sessions import Sessions
from tests.e2e.stack import (
    APPROVAL,
    Frame,
    Stack,
    Told,
    commands_like,
    new_session,
    say,
    wait_until,
)


def harness_id(arn: str) -> str:
    return arn.rpartition("/")[2]


def cancel(stack: Stack, arn: str, session: str, key: str) -> Any:
    return Sessions.at(stack.endpoint).cancel(harness_id(arn), session, key)


def rest_of(frames: Iterator[Frame]) -> Told:
    return Told(list(frames))


def test_a_cancelled_model_call_stops_and_leaves_a_valid_transcript(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    stream = stack.open(arn, session, say("Count to 5000"), key="long-talk")
    seen = [next(stream) for _ in range(5)]
    assert any("contentBlockDelta" in frame for frame in seen)
    ended = cancel(stack, arn, session, "long-talk")
    assert (ended["state"], ended["stopReason"]) == ("ended", "interrupted")
    told = rest_of(stream)
    assert told.stop_reason == "interrupted"
    assert "5000" not in "".join(text for _, _, text in told.messages)
    assert cancel(stack, arn, session, "long-talk") == ended

    after = stack.invoke(arn, session, say("Count to 3"))
    assert after.stops == ["end_turn"]


def test_a_cancelled_command_is_killed_and_its_result_says_so(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    marked = "sleep 86413"
    work = say(f"Run the shell command `touch started-{session}; {marked}`")
    stream = stack.open(arn, session, work, key="long-work")
    next(stream)
    wait_until(lambda: stack.volume_files(f"started-{session}"), what="the command did not start")
    assert commands_like(marked)
    assert cancel(stack, arn, session, "long-work")["stopReason"] == "interrupted"
    told = rest_of(stream)
    assert told.stop_reason == "interrupted"
    assert "interrupted" in told.results[0]
    wait_until(lambda: not commands_like(marked), what="the command still runs")

    after = stack.invoke(arn, session, say("Run the shell command `echo still here`"))
    assert "still here" in json.loads(after.results[0])["stdout"]


def test_a_cancelled_invocation_of_the_queue_ends_at_once_and_runs_never(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    first = stack.open(arn, session, say("Run the shell command `sleep 3`"), key="first")
    next(first)
    queued: list[Told] = []

    def queue() -> None:
        words = say("Run the shell command `touch never.txt`")
        headers = {"x-everloop-if-busy": "enqueue"}
        queued.append(stack.invoke(arn, session, words, key="second", headers=headers))

    waiting = threading.Thread(target=queue)
    waiting.start()

    def cancelled() -> bool:
        try:
            return cancel(stack, arn, session, "second")["stopReason"] == "interrupted"
        except ApiError as unknown:
            assert unknown.name == "ResourceNotFoundException"
            return False

    wait_until(cancelled)
    waiting.join(timeout=20)
    assert [told.stops for told in queued] == [["interrupted"]]
    assert rest_of(first).stop_reason == "end_turn"
    assert not stack.volume_files("never.txt")


def test_what_cannot_be_cancelled_is_refused_with_the_reason(stack: Stack) -> None:
    arn, session = stack.harness(tools=[APPROVAL]), new_session()
    asked = stack.invoke(arn, session, say("Ask for approval to ship"), key="asks")
    with pytest.raises(ApiError) as waits:
        cancel(stack, arn, session, "asks")
    assert waits.value.name == "ConflictException"
    assert asked.tool_uses[0]["toolUseId"] in str(waits.value)
    assert "decide" in str(waits.value)

    other = new_session()
    stack.invoke(arn, other, say("Count to 2"), key="counts")
    with pytest.raises(ApiError, match="ended before, with end_turn"):
        cancel(stack, arn, other, "counts")
    with pytest.raises(ApiError, match="no invocation nothing"):
        cancel(stack, arn, other, "nothing")
    with pytest.raises(ApiError, match="has no session"):
        cancel(stack, arn, new_session(), "counts")


@pytest.mark.parametrize("cancels", [False, True])
def test_ctrl_c_in_the_command_leaves_the_turn_or_cancels_it(stack: Stack, cancels: bool) -> None:
    arn, session, key = stack.harness(), new_session(), f"ctrl-c-{cancels}"
    words = f"Run the shell command `touch begun-{session}; sleep 2`"
    command = [sys.executable, "-m", "everloop.cli", "invoke", arn, words]
    command += ["--session-id", session, "--invocation-id", key]
    command += ["--endpoint-url", stack.endpoint, *(["--cancel-on-interrupt"] if cancels else [])]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        # Whoever runs tests in the background has them ignore SIGINT, as a terminal would not.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: stack.volume_files(f"begun-{session}"), what="the command did not start")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode != 0
    assert ("cancelled" if cancels else f"everloop cancel {arn}") in said
    told = stack.follow(arn, session, say(words), key=key)
    assert told.stop_reason == ("interrupted" if cancels else "end_turn")
