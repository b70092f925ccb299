"""Forks on the running product: another past, another model, another version."""

import json
import subprocess
import sys

import pytest

from everloop.cli.errors import ApiError
from everloop.sessions import Sessions
from tests.e2e.stack import Stack, new_session, say


def test_a_fork_goes_on_from_a_message_of_the_past_with_another_model(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.rpartition("/")[2]
    stack.invoke(arn, session, say("Run the shell command `echo kept > note.txt; echo one`"))
    stack.invoke(arn, session, say("Count to 3"))
    of = Sessions.at(stack.endpoint)
    before = list(of.transcript(harness_id, session))
    with pytest.raises(ApiError, match="take 1 or 3"):
        of.fork(harness_id, session, fromSeq=2)

    bad = {"liteLlmModelConfig": {"modelId": "demo/no-such-model"}}
    made = of.fork(harness_id, session, fromSeq=4, model=bad, clientToken="again")
    assert of.fork(harness_id, session, fromSeq=4, model=bad, clientToken="again") == made
    with pytest.raises(ApiError, match="used before with other parameters"):
        of.fork(harness_id, session, fromSeq=3, clientToken="again")
    assert made["forkedFrom"] == {
        "seq": 4,
        "harnessId": harness_id,
        "runtimeSessionId": session,
    }
    name = made["runtimeSessionId"]
    with pytest.raises(Exception, match="no-such-model"):
        stack.invoke(arn, name, say("Count to 2"))
    demo = {"liteLlmModelConfig": {"modelId": "demo/scripted"}}
    told = stack.invoke(arn, name, say("Run the shell command `ls`"), model=demo)
    assert json.loads(told.results[0])["stdout"] == "", "files are not taken along"
    assert list(of.transcript(harness_id, session)) == before


def test_a_fork_runs_with_another_version_from_the_command_line(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.rpartition("/")[2]
    stack.invoke(arn, session, say("Count to 3"))
    stack.control.create_harness_endpoint(
        harnessId=harness_id, endpointName="old", targetVersion="1"
    )
    nothing = ["@builtin/file_operations"]
    stack.control.update_harness(harnessId=harness_id, allowedTools=nothing)
    command = [sys.executable, "-m", "everloop.cli", "fork", arn, "--session-id", session]
    command += ["--qualifier", "old", "--endpoint-url", stack.endpoint, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["runtimeSessionId"]
    old = stack.invoke(arn, name, say("Run the shell command `echo version one`"))
    assert "version one" in "".join(old.results)
    new = stack.invoke(arn, session, say("Run the shell command `echo version two`"))
    assert "version two" not in "".join(new.results)
