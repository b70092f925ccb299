"""Snapshots of a session's files, by the command and over HTTP."""

import json
import subprocess

from tests.e2e.people import own
from tests.e2e.stack import Stack, new_session, say


def everloop(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return stack.everloop("snapshot", *words)


def test_files_are_kept_and_put_back(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.split("/")[1]
    name = f"{harness_id}/{session}"
    stack.invoke(arn, session, say("Run the shell command `echo before > f`"))
    made = everloop(stack, "create", name, "--label", "first")
    assert made.returncode == 0, made.stderr
    snapshot = made.stdout.strip()
    stack.invoke(arn, session, say("Run the shell command `echo after > f`"))

    (shown,) = json.loads(everloop(stack, "list", name, "--json").stdout)["snapshots"]
    assert (shown["id"], shown["label"], shown["status"]) == (snapshot, "first", "READY")
    restored = everloop(stack, "restore", name, snapshot, "--json")
    assert json.loads(restored.stdout) == {"id": snapshot, "status": "RESTORED"}
    work = say("Run the shell command `cat f`. Run the shell command `cat f`")
    first, second = [json.loads(each) for each in stack.invoke(arn, session, work).results]
    assert first["stdout"] == second["stdout"] == "before\n"
    assert "put back to an earlier snapshot" in first["note"] and "note" not in second

    path = f"harnesses/{harness_id}/sessions/{session}/snapshots"
    again = [own(stack, "POST", path, {"clientToken": "once"}) for _ in range(2)]
    assert again[0] == again[1]
    assert everloop(stack, "delete", name, snapshot).returncode == 0
    refused = everloop(stack, "restore", name, snapshot)
    assert refused.returncode != 0 and f"has no snapshot {snapshot}" in refused.stderr
    assert [each["id"] for each in own(stack, "GET", path)["snapshots"]] == [again[0]["id"]]
