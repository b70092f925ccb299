"""Deleting for good: rows, bytes, files, runs; through a killed worker, and by age."""

import asyncio
import json
import sqlite3
import subprocess
from typing import Any

import pytest
from temporalio.client import Client

import everloop
from contracts.deletion import RETENTION_SCHEDULE
from everloop.cli.errors import ApiError
from everloop.mailbox import mailbox_id
from everloop.sessions import Sessions
from tests.e2e.stack import Stack, Told, new_session, say, wait_until

SECRET = "planted-a-secret"


def temporal_runs(stack: Stack, session: str) -> int:
    async def ask() -> int:
        client = await Client.connect(stack.temporal)
        return len(
            [
                run
                async for run in client.list_workflows("WorkflowType = 'HarnessSession'")
                if run.id.endswith(session)
            ]
        )

    return asyncio.run(ask())


def send(stack: Stack, arn: str, session: str) -> None:
    """Something for the session's mailbox, which then waits for it."""

    async def through() -> None:
        client = await everloop.connect(stack.temporal)
        await client.send(arn, "Count to 2", session_id=session)

    asyncio.run(through())
    of = Sessions.at(stack.endpoint)
    harness_id = arn.rpartition("/")[2]
    wait_until(
        lambda: any(
            each["invocationId"].startswith("run-") for each in of.invocations(harness_id, session)
        )
    )


def mailbox_runs(stack: Stack, arn: str, session: str) -> list[str]:
    async def ask() -> list[str]:
        client = await Client.connect(stack.temporal)
        query = f"WorkflowId STARTS_WITH '{mailbox_id(arn, session)}'"
        return [run.id async for run in client.list_workflows(query)]

    return asyncio.run(ask())


def left_in_files(stack: Stack, words: str) -> list[str]:
    """Files of the data directory that hold these words."""
    return [
        str(path)
        for path in stack.data_dir.rglob("*")
        if path.is_file() and words.encode() in path.read_bytes()
    ]


def rows_naming(stack: Stack, words: str) -> list[str]:
    with sqlite3.connect(stack.data_dir / "everloop.db") as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found = [
            name
            for (name,) in names
            for row in connection.execute(f'SELECT * FROM "{name}"')
            if words in str(row)
        ]
    connection.close()
    return found


def test_a_running_session_is_deleted_with_all_that_is_of_it(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.rpartition("/")[2]
    stack.invoke(arn, session, say(f"Write the file `kept.txt` containing `{SECRET}`"))
    work = say(f"Run the shell command `touch on-{session}; sleep 86417`")
    stream = stack.open(arn, session, work, key="busy")
    next(stream)
    wait_until(lambda: stack.volume_files(f"on-{session}"), what="the command did not start")
    assert left_in_files(stack, SECRET)

    send(stack, arn, session)
    wait_until(lambda: len(mailbox_runs(stack, arn, session)) == 2)

    words = ("forget", arn, "--session-id", session, "--yes", "--json")
    done = stack.everloop(*words, timeout_s=120)
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["status"] == "COMPLETE"
    assert receipt["deleted"]["message"] >= 4
    assert receipt["deleted"]["temporal_runs"] >= 1
    assert Told(list(stream)).stop_reason == "interrupted"
    of = Sessions.at(stack.endpoint)
    assert of.deletion(receipt["deletionId"]) == receipt

    assert rows_naming(stack, session) == []
    assert left_in_files(stack, SECRET) == []
    assert not stack.volume_files("kept.txt")
    assert temporal_runs(stack, session) == 0
    assert mailbox_runs(stack, arn, session) == []
    with pytest.raises(ApiError, match="has no session"):
        of.get(harness_id, session)
    with pytest.raises(ApiError, match="does not exist"):
        of.delete(harness_id, session)
    assert stack.invoke(arn, session, say("Count to 2")).stops == ["end_turn"], "the name is free"


def test_an_actors_sessions_go_although_the_worker_is_killed(stack: Stack) -> None:
    arn = stack.harness()
    sessions = [new_session() for _ in range(3)]
    for session in sessions:
        words = say(f"Run the shell command `echo {SECRET}`")
        stack.invoke(arn, session, words, actorId="ann-of-tests")
    stays = new_session()
    stack.invoke(arn, stays, say("Count to 3"), actorId="bob")
    of = Sessions.at(stack.endpoint)

    # Killed with the sandbox host away, so that the deletion is certainly under way.
    host = stack.process("sandbox-host")["pid"]
    subprocess.run(["kill", "-STOP", str(host)], check=True)
    receipt = of.delete_actor("ann-of-tests", wait_s=0)
    assert receipt["status"] == "RUNNING"
    stack.kill("worker")
    subprocess.run(["kill", "-CONT", str(host)], check=True)

    def complete() -> Any:
        found = of.deletion(receipt["deletionId"])
        return found if found["status"] == "COMPLETE" else None

    wait_until(complete, within_s=90, what="the deletion did not complete")
    for words in (*sessions, "ann-of-tests"):
        assert rows_naming(stack, words) == []
    assert left_in_files(stack, SECRET) == []
    assert len(list(of.transcript(arn.rpartition("/")[2], stays))) == 2


def test_old_sessions_go_by_themselves(stack: Stack) -> None:
    arn = stack.harness()
    old, young = new_session(), new_session()
    for session in (old, young):
        stack.invoke(arn, session, say("Count to 3"))
    with sqlite3.connect(stack.data_dir / "everloop.db", timeout=10) as connection:
        connection.execute(
            "UPDATE session SET active_at = '2020-01-01 00:00:00' WHERE runtime_session_id = ?",
            (old,),
        )
    connection.close()

    async def start_a_round() -> None:
        client = await Client.connect(stack.temporal)
        await client.get_schedule_handle(RETENTION_SCHEDULE).trigger()

    asyncio.run(start_a_round())
    of = Sessions.at(stack.endpoint)
    wait_until(
        lambda: [one["runtimeSessionId"] for one in of.list(arn.rpartition("/")[2])] == [young],
        within_s=60,
        what="the old session did not expire",
    )
