"""The files that a turn left, as its caller sees them."""

from everloop.sessions import Sessions
from tests.e2e.people import own
from tests.e2e.stack import Stack, new_session, say


def everloop(stack: Stack, *words: str) -> str:
    done = stack.everloop(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_files_of_each_turn_are_listed_with_it(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.rpartition("/")[2]
    first = say("Run the shell command `seq 3 > numbers; touch empty`")
    told = stack.follow(arn, session, first, key="turn-one")
    assert told.stop_reason == "end_turn"
    stack.follow(arn, session, say("Run the shell command `rm empty`"), key="turn-two")
    stack.follow(arn, session, say("Count to 3"), key="turn-three")

    path = f"harnesses/{harness_id}/sessions/{session}/invocations"
    page = own(stack, "GET", f"{path}/turn-one/files?maxResults=1")
    (only,) = page["entries"]
    assert (only["path"], only["change"], only["size"]) == ("empty", "created", 0)
    assert (page["state"], page["created"], page["nextStartAfter"]) == ("complete", 2, "empty")
    of = Sessions.at(stack.endpoint)
    numbers = list(of.invocation_files(harness_id, session, "turn-one"))[1]
    assert numbers["sha256"] == "14c5e74c4b96ccef41cd94db73a9ec3348038ac094feca4fd897cecffa07cdae"
    second = of.invocation(harness_id, session, "turn-two")["files"]
    assert (second["removed"], second["entries"]) == (
        1,
        [{"path": "empty", "change": "removed"}],
    )
    third = own(stack, "GET", f"{path}/turn-three")["files"]
    assert third == {"state": "complete", "created": 0, "changed": 0, "removed": 0, "entries": []}

    made = everloop(stack, "files", "made", f"{harness_id}/{session}", "turn-one")
    assert [line.split() for line in made.splitlines()] == [
        ["created", "0", "empty"],
        ["created", "6", "numbers"],
    ]
    shown = everloop(stack, "sessions", harness_id, "--session-id", session)
    assert "    created numbers (6 bytes)" in shown and "    removed empty" in shown
    lines = list(of.export(harness_id, session))
    exported = {
        line["invocationId"]: [each["path"] for each in line["entries"]]
        for line in lines
        if line["type"] == "files"
    }
    assert exported == {"turn-one": ["empty", "numbers"], "turn-two": ["empty"]}
    assert lines[-1]["type"] == "end"
