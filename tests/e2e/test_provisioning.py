"""Harnesses and endpoints in transition while their processes are killed with -9."""

import asyncio
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.ids import session_key
from store import Store
from tests.e2e.stack import DEMO, ROLE, Stack, Told, new_session, say, wait_until
from tests.provisioned import wait_settled

MARK = "Run the shell command `echo work > {name}; sleep 300 & echo started`"
LONG = "Run the shell command `echo long > {name}; sleep 300`"


@contextmanager
def killed_at_the_end(stack: Stack, name: str) -> Generator[None]:
    """A process that is stopped, with whatever it has taken up, and then killed with -9."""
    stack.wait_ready(name)
    os.kill(stack.process(name)["pid"], signal.SIGSTOP)
    try:
        yield
    finally:
        stack.kill(name)


def id_of(arn: str) -> str:
    return arn.rpartition("/")[2]


def status(control: Any, harness_id: str) -> tuple[str, str]:
    found = control.get_harness(harnessId=harness_id)["harness"]
    return found["status"], found["harnessVersion"]


def transcript(stack: Stack, arn: str, session: str) -> list[str]:
    """The role of every stored message."""

    async def read() -> list[str]:
        store = await Store.open(stack.database_url)
        key = session_key("000000000000", id_of(arn), session)
        found = await store.transcript.window(key, upto_seq=10**6, limit=None)
        await store.close()
        return [one.message.role for one in found]

    return asyncio.run(read())


def test_a_worker_killed_during_every_change_leaves_nothing_half_made(stack: Stack) -> None:
    # Clients that do not wait: what they see is the transition.
    control = stack.client("bedrock-agentcore-control")
    updated, pointed, deleted = (id_of(stack.harness()) for _ in range(3))
    where = {"harnessId": pointed, "endpointName": "prod"}
    stack.control.update_harness(harnessId=pointed, maxIterations=1)
    stack.control.create_harness_endpoint(**where, targetVersion="1")

    with killed_at_the_end(stack, "worker"):
        created = control.create_harness(harnessName="born", executionRoleArn=ROLE, model=DEMO)[
            "harness"
        ]["harnessId"]
        control.update_harness(harnessId=updated, maxIterations=1)
        control.update_harness_endpoint(**where, targetVersion="2")
        control.delete_harness(harnessId=deleted)
        assert status(control, created) == ("CREATING", "1")
        assert status(control, updated) == ("UPDATING", "2")
        assert status(control, deleted) == ("DELETING", "1")
        shown = control.get_harness_endpoint(**where)["endpoint"]
        assert (shown["status"], shown["liveVersion"], shown["targetVersion"]) == (
            "UPDATING",
            "1",
            "2",
        )
        for change in (control.update_harness, control.delete_harness):
            with pytest.raises(control.exceptions.ConflictException, match="CREATING"):
                change(harnessId=created)

    for harness_id, version in ((created, "1"), (updated, "2")):
        assert wait_settled(control, harness_id)["status"] == "READY"
        assert status(control, harness_id) == ("READY", version)
    assert wait_settled(control, pointed, "prod")["liveVersion"] == "2"
    assert wait_settled(control, deleted) == {}
    arns = [one["arn"] for one in control.list_harnesses(maxResults=100)["harnesses"]]
    arn = next(one for one in arns if id_of(one) == created)
    assert stack.invoke(arn, new_session(), say("Count to 2")).stop_reason == "end_turn"


def test_deleting_ends_turns_and_environments_though_the_host_is_killed(stack: Stack) -> None:
    others = sandbox_processes(stack)
    arn, idle, busy = stack.harness(), new_session(), new_session()
    stack.invoke(arn, idle, say(MARK.format(name="idle.mark")))
    told: list[Told] = []
    turn = threading.Thread(
        target=lambda: told.append(stack.invoke(arn, busy, say(LONG.format(name="busy.mark"))))
    )
    turn.start()
    wait_until(lambda: stack.volume_files("busy.mark"), what="the turn did not begin")
    sandboxes = wait_until(lambda: sandbox_processes(stack) - others, what="no sandbox runs")

    with killed_at_the_end(stack, "sandbox-host"):
        control = stack.client("bedrock-agentcore-control")
        assert control.delete_harness(harnessId=id_of(arn))["harness"]["status"] == "DELETING"
        turn.join(timeout=60)
        assert [one.stop_reason for one in told] == ["interrupted"]
        assert status(control, id_of(arn))[0] == "DELETING", "the host has not answered"
        with pytest.raises(Exception, match="is being deleted"):
            stack.invoke(arn, new_session(), say("Count to 2"))

    assert wait_settled(control, id_of(arn)) == {}
    assert stack.volume_files("idle.mark") == stack.volume_files("busy.mark") == []
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in sandboxes),
        what="an environment outlived its harness",
    )
    assert transcript(stack, arn, idle) == ["user", "assistant", "user", "assistant"]
    assert transcript(stack, arn, busy)[:2] == ["user", "assistant"]


def sandbox_processes(stack: Stack) -> set[int]:
    async def read() -> set[int]:
        store = await Store.open(stack.database_url)
        found = await store.environments.on_host("local")
        await store.close()
        return {int(one.reference["pid"]) for one in found if "pid" in one.reference}

    return asyncio.run(read())
