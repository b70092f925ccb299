"""Forks on the running product: another past, another model, another version."""

import json

import pytest

from everloop.cli.errors import ApiError
from everloop.sessions import Sessions
from tests.e2e.people import own
from tests.e2e.stack import Stack, new_session, say, wait_until


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
    done = stack.everloop("fork", arn, "--session-id", session, "--qualifier", "old", "--json")
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["runtimeSessionId"]
    old = stack.invoke(arn, name, say("Run the shell command `echo version one`"))
    assert "version one" in "".join(old.results)
    new = stack.invoke(arn, session, say("Run the shell command `echo version two`"))
    assert "version two" not in "".join(new.results)


def test_a_fork_takes_files_along_when_it_is_asked(stack: Stack) -> None:
    rules = {
        "before": [
            {
                "tools": ["shell"],
                "name": "before writing",
                "when": [{"path": "/command", "operator": "matches", "value": "second"}],
            }
        ]
    }
    arn, session = stack.harness(), new_session()
    harness_id = arn.rpartition("/")[2]
    own(stack, "PUT", f"harnesses/{harness_id}/extensions", {"snapshots": rules})
    control = stack.control
    wait_until(lambda: control.get_harness(harnessId=harness_id)["harness"]["status"] == "READY")
    stack.invoke(arn, session, say("Run the shell command `echo first > f`"))
    stack.invoke(arn, session, say("Run the shell command `echo second > f`"))
    of = Sessions.at(stack.endpoint)
    asked = [entry for entry in of.transcript(harness_id, session) if "snapshots" in entry]
    ((call, snapshot),) = asked[0]["snapshots"].items()
    listed = own(stack, "GET", f"harnesses/{harness_id}/sessions/{session}/snapshots")
    (shown,) = listed["snapshots"]
    assert (shown["id"], shown["callId"], shown["label"]) == (snapshot, call, "before writing")
    exported = [line for line in of.export(harness_id, session) if line.get("snapshotId")]
    assert [line["toolUseId"] for line in exported] == [call]

    read = say("Run the shell command `cat f; echo fork >> f`. Run the shell command `cat f`")
    done = stack.everloop("fork", arn, "--session-id", session, "--files", "current", "--json")
    assert done.returncode == 0, done.stderr
    now = json.loads(done.stdout)["runtimeSessionId"]
    first, again = [json.loads(one) for one in stack.invoke(arn, now, read).results]
    assert (first["stdout"], again["stdout"]) == ("second\n", "second\nfork\n")
    assert "forked from another" in first["note"] and "note" not in again

    wanted = {"files": {"snapshotId": snapshot}, "clientToken": "once", "fromSeq": 1}
    then = of.fork(harness_id, session, **wanted)
    assert of.fork(harness_id, session, **wanted) == then
    listing = own(
        stack, "GET", f"harnesses/{harness_id}/sessions/{then['runtimeSessionId']}/files?path=."
    )
    assert [each["name"] for each in listing["entries"]] == ["f"]
    told = stack.invoke(arn, then["runtimeSessionId"], say("Run the shell command `cat f`"))
    assert json.loads(told.results[0])["stdout"] == "first\n"
    gone = {"snapshotId": "snap-" + "0" * 32}
    with pytest.raises(ApiError, match="has no snapshot"):
        of.fork(harness_id, session, files=gone)
    with pytest.raises(ApiError, match="files"):
        of.fork(harness_id, session, files="all")
    told = stack.invoke(arn, session, say("Run the shell command `cat f`"))
    assert json.loads(told.results[0])["stdout"] == "second\n"
