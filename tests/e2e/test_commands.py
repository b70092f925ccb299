"""Commands beside turns, as boto3 asks for them, through every kill there is."""

import uuid
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.e2e.commands import Ran, begin, run
from tests.e2e.stack import Stack, Told, new_session, say


@pytest.mark.wire("session.command", "session.command-stream")
def test_a_command_runs_in_a_session_that_only_commands_made(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    ran = run(stack, arn, session, "echo out; echo err >&2; echo kept > f; exit 3")
    assert (ran.text(), ran.text("stderr")) == ("out\n", "err\n")
    assert ran.stop == {"exitCode": 3, "status": "COMPLETED"}
    assert run(stack, arn, session, "cat f").text() == "kept\n"


def test_output_comes_while_the_command_runs(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    chunks = begin(stack, arn, session, "echo first; while [ ! -e go ]; do sleep 0.05; done")
    told = (each.get("contentDelta", {}).get("stdout") for each in chunks)
    assert next(text for text in told if text) == "first\n"
    run(stack, arn, session, "touch go")
    assert list(chunks)[-1]["contentStop"]["exitCode"] == 0


def test_a_command_runs_beside_a_turn_that_waits_for_it(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    waits = "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo over"
    frames = stack.open(arn, session, say(f"Run the shell command `{waits}`"))
    first = next(frames)
    beside = run(stack, arn, session, "while [ ! -e begun ]; do sleep 0.05; done; touch go")
    assert beside.stop["exitCode"] == 0
    assert Told([first, *frames]).stop_reason == "end_turn"


@pytest.mark.wire("session.command-retry")
def test_a_repeated_call_joins_the_command_and_another_under_its_key_is_refused(
    stack: Stack,
) -> None:
    arn, session, key = stack.harness(), new_session(), str(uuid.uuid4())
    command = "echo ran >> runs; sleep 0.3; wc -l < runs"
    first = begin(stack, arn, session, command, key=key)
    second = run(stack, arn, session, command, key=key)
    assert second.text() == "1\n" and second.stop["exitCode"] == 0
    assert list(first)[-1] == second.chunks[-1]
    assert run(stack, arn, session, command, key=key).text() == "1\n"
    with pytest.raises(ClientError, match="IdempotentParameterMismatch|was used before"):
        run(stack, arn, session, "echo other", key=key)


@pytest.mark.wire("session.command-stream")
def test_a_command_that_runs_out_of_time_keeps_what_it_wrote(stack: Stack) -> None:
    ran = run(stack, stack.harness(), new_session(), "echo begun; sleep 60", timeout=1)
    assert ran.text() == "begun\n"
    assert ran.stop == {"exitCode": -1, "status": "TIMED_OUT"}


@pytest.mark.wire("session.command-bounds")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"command": "true", "timeout": 0}, "body.timeout"),
        ({"command": "true", "timeout": 3601}, "body.timeout"),
        ({"command": "\u20ac" * 30000}, "body.command"),
        ({"command": "a\0b"}, "body.command"),
    ],
)
def test_what_cannot_be_run_is_refused(stack: Stack, body: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError) as refused:
        stack.data.invoke_agent_runtime_command(
            agentRuntimeArn=stack.harness(), runtimeSessionId=new_session(), body=body
        )
    error = cast("Any", refused.value).response["Error"]
    assert error["Code"] == "ValidationException" and said in error["Message"]


@pytest.mark.wire("session.command-headers")
def test_media_types_and_traces_change_nothing(stack: Stack) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    answer = stack.data.invoke_agent_runtime_command(
        agentRuntimeArn=stack.harness(),
        runtimeSessionId=new_session(),
        contentType="application/json",
        accept="text/plain",
        traceParent=trace,
        traceState="a=b",
        traceId="Root=1",
        baggage="c=d",
        body={"command": "true"},
    )
    assert answer["contentType"] == "application/vnd.amazon.eventstream"
    assert [*answer["stream"]][-1]["chunk"]["contentStop"]["exitCode"] == 0
    answer["stream"].close()


@pytest.mark.wire("session.command-runtime")
def test_only_harnesses_that_are_there_have_sessions(stack: Stack) -> None:
    arn = stack.harness()
    asked = {"runtimeSessionId": new_session(), "body": {"command": "true"}}
    other = arn.replace(":harness/", ":runtime/")
    for wrong, code in ((other, "ValidationException"), (arn[:-3] + "zzz", "ResourceNotFound")):
        with pytest.raises(ClientError, match=code):
            stack.data.invoke_agent_runtime_command(agentRuntimeArn=wrong, **asked)
    with pytest.raises(ClientError, match="ValidationException.*accountId"):
        stack.data.invoke_agent_runtime_command(
            agentRuntimeArn=arn, accountId="111111111111", **asked
        )
    with pytest.raises(ClientError, match="ResourceNotFound"):
        stack.data.stop_runtime_session(agentRuntimeArn=arn, runtimeSessionId=new_session())


@pytest.mark.wire("session.stop", "session.stop-token")
def test_a_stopped_session_tells_its_commands_and_keeps_its_files(stack: Stack) -> None:
    arn, session, token = stack.harness(), new_session(), uuid.uuid4().hex + "-stop"
    chunks = begin(stack, arn, session, "echo kept > f; echo begun; sleep 60")
    ran = Ran()
    ran.chunks.append(next(chunks))
    ran.chunks.append(next(chunks))
    asked = {"agentRuntimeArn": arn, "runtimeSessionId": session, "clientToken": token}
    assert stack.data.stop_runtime_session(**asked)["runtimeSessionId"] == session
    ran.chunks += list(chunks)
    assert ran.stop == {"exitCode": -1, "status": "COMPLETED"}
    assert (ran.text(), "session was stopped" in ran.text("stderr")) == ("begun\n", True)
    # The same token again does not stop what began since.
    again = begin(stack, arn, session, "cat f; while [ ! -e go ]; do sleep 0.05; done")
    assert [next(again), next(again)][1] == {"contentDelta": {"stdout": "kept\n"}}
    stack.data.stop_runtime_session(**asked)
    run(stack, arn, session, "touch go")
    assert list(again)[-1]["contentStop"] == {"exitCode": 0, "status": "COMPLETED"}


def test_a_command_outlives_every_process_but_its_environment(stack: Stack) -> None:
    arn, session, key = stack.harness(), new_session(), "survivor"
    command = "echo ran >> runs; echo begun; while [ ! -e go ]; do sleep 0.05; done; wc -l < runs"
    first = begin(stack, arn, session, command, key=key)
    assert [next(first), next(first)][1] == {"contentDelta": {"stdout": "begun\n"}}

    # The host dies: the stream that is open goes on, over its successor.
    stack.kill("sandbox-host")
    # The API dies: the same call again gets the whole stream.
    stack.kill("api")
    with pytest.raises(Exception):  # noqa: B017 - whatever boto3 makes of a cut connection
        list(first)
    stack.wait_ready("api")
    second = begin(stack, arn, session, command, key=key)
    assert [next(second), next(second)][1] == {"contentDelta": {"stdout": "begun\n"}}
    stack.kill("sandbox-host")
    run(stack, arn, session, "touch go")
    ran = Ran()
    ran.chunks += [{"contentStart": {}}, *second]
    assert (ran.text(), ran.stop["exitCode"]) == ("1\n", 0)

    # agentd dies, and the environment with it.
    lost = begin(stack, arn, session, "echo begun; sleep 60", key="lost")
    assert [next(lost), next(lost)][1] == {"contentDelta": {"stdout": "begun\n"}}
    run_until_dead(stack, arn, session)
    with pytest.raises(EventStreamError, match="outcome is unknown"):
        list(lost)
    with pytest.raises(EventStreamError, match="outcome is unknown"):
        run(stack, arn, session, "echo begun; sleep 60", key="lost")
    assert run(stack, arn, session, "cat runs").text() == "ran\n"


def run_until_dead(stack: Stack, arn: str, session: str) -> None:
    """Have a command kill agentd, which runs as its user."""
    with pytest.raises(EventStreamError):
        run(stack, arn, session, "kill -9 2; sleep 60")
