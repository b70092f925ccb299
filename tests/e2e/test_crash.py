"""Each process killed with -9, mid-stream and mid-tool: runs finish, effects happen once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

import everloop
from contracts.ids import session_key
from contracts.records import InvocationState
from everloop.mailbox import mailbox_id
from store import Store
from tests.e2e.stack import Stack, Told, new_session, say, wait_until

PROCESSES = ("worker", "api", "sandbox-host", "temporal")
STEPS = 3


def in_background(call: Callable[[], Told]) -> Callable[[], Told]:
    """Run a call in a thread; the returned function waits for what it gives."""
    outcome: list[Told | BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Told:
        thread.join(timeout=120)
        assert outcome, "no answer within two minutes"
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    return result


def lines(stack: Stack, name: str) -> list[str]:
    found = stack.volume_files(name)
    return found[0].read_text().split() if found else []


@pytest.mark.parametrize("name", PROCESSES)
def test_finishes_after_a_process_is_killed_mid_tool(stack: Stack, name: str) -> None:
    stack.wait_ready(name)
    arn, session, key = stack.harness(), new_session(), f"mid-tool-{name}"
    effects = f"{name}.effects"
    work = say(
        " ".join(
            f"Run the shell command `echo {step} >> {effects}; sleep 1`." for step in range(STEPS)
        )
    )
    told = in_background(lambda: stack.follow(arn, session, work, key=key))
    wait_until(lambda: len(lines(stack, effects)) == 2, what="the second command did not start")
    stack.kill(name)

    finished = told()
    assert finished.stop_reason == "end_turn"
    assert lines(stack, effects) == [str(step) for step in range(STEPS)]
    assert [json.loads(result)["exit_code"] for result in finished.results] == [0] * STEPS
    stack.wait_ready(name)
    assert stack.invoke(arn, session, work, key=key).messages == finished.messages


@pytest.mark.wire("stream.retried-call")
@pytest.mark.parametrize(
    "name",
    ["worker", *(pytest.param(name, marks=pytest.mark.thorough) for name in PROCESSES[1:])],
)
def test_finishes_after_a_process_is_killed_mid_stream(stack: Stack, name: str) -> None:
    stack.wait_ready(name)
    arn, session, key = stack.harness(), new_session(), f"mid-stream-{name}"
    begun = threading.Event()

    def read() -> Told:
        told = Told()
        try:
            for frame in stack.open(arn, session, say("Count to 150"), key=key):
                told.frames.append(frame)
                if len(told.frames) > 20:
                    begun.set()
        except Exception:
            begun.set()
            return stack.follow(arn, session, say("Count to 150"), key=key)
        return told

    told = in_background(read)
    assert begun.wait(30)
    stack.kill(name)

    finished = told()
    assert finished.stop_reason == "end_turn"
    assert finished.text.split() == [str(number) for number in range(1, 151)]
    if name == "worker":
        cut = [text for _, stop, text in finished.messages if stop == "interrupted"]
        assert len(cut) == 1, "the dead worker's words are closed as interrupted"
        assert finished.text.startswith(cut[0])
    stack.wait_ready(name)


def test_a_turn_that_was_opened_for_an_update_that_was_lost_is_asked_for_again(
    stack: Stack,
) -> None:
    for name in ("temporal", "api", "worker"):
        stack.wait_ready(name)
    arn, session, key = stack.harness(), new_session(), "lost"
    os.kill(stack.process("temporal")["pid"], signal.SIGSTOP)
    told = in_background(lambda: stack.follow(arn, session, say("Count to 3"), key=key))
    harness_id = arn.rpartition("/")[2]
    asyncio.run(open_turn(stack, session_key("0" * 12, harness_id, session), key))
    # As if a worker had taken the update and died: nobody knows of it now.
    for name in ("api", "temporal"):
        stack.kill(name)
    assert told().text.split() == ["1", "2", "3"]


async def open_turn(stack: Stack, session: str, invocation: str) -> None:
    store = await Store.open(stack.database_url)
    try:
        while await store.turns.invocation(session, invocation) is None:
            await asyncio.sleep(0.01)
        opened = await store.turns.open(session, invocation)
        assert opened.state is InvocationState.OPEN
    finally:
        await store.close()


def test_a_killed_environment_gives_a_clear_result_and_no_second_run(
    stack: Stack, tmp_path: Path
) -> None:
    stack.wait_ready("sandbox-host")
    told = stack.invoke(
        stack.harness(),
        new_session(),
        say("Run the shell command `echo once >> lost.effects; kill -9 -1; sleep 30`"),
    )
    assert told.stop_reason == "end_turn"
    assert "not run again" in told.results[0]
    assert lines(stack, "lost.effects") == ["once"]


def send_as_json(stack: Stack, mailbox: str, request: dict[str, str]) -> None:
    """As another language does: with Temporal's own command, which is written in Go."""
    temporal = Path(sys.executable).parent / "temporal"
    command = [str(temporal), "workflow", "signal-with-start", "--address", stack.temporal]
    command += ["--type", "HarnessMailbox", "--task-queue", "everloop", "--workflow-id", mailbox]
    command += ["--signal-name", "run_harness", "--signal-input", json.dumps(request)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


async def test_what_is_sent_runs_in_order_and_once_though_a_worker_dies(
    stack: Stack,
) -> None:
    stack.wait_ready("worker")
    client = await everloop.connect(stack.temporal)
    arn, session = stack.harness(), everloop.session_id(uuid.uuid4().hex)
    effects = f"{uuid.uuid4().hex}.effects"

    def work(step: int) -> str:
        return f"Run the shell command `echo {step} >> {effects}; sleep 0.5`."

    async def send(step: int) -> everloop.SentRun:
        return await client.send(arn, work(step), key=f"step-{step}", session_id=session)

    first = await send(0)
    await asyncio.to_thread(wait_until, lambda: stack.volume_files(effects))
    await asyncio.to_thread(stack.kill, "worker")
    second = await send(1)
    await send(1)
    # What the second one's sender did not wait for, another program sends.
    sent = {"harness": arn, "prompt": work(2), "session_id": session, "key": "step-2"}
    await asyncio.to_thread(send_as_json, stack, mailbox_id(arn, session), sent)
    assert (await first.result()).done and (await second.result()).done
    await client.temporal.get_workflow_handle(mailbox_id(arn, session)).result()
    again = await send(2)
    assert (await again.result()).session_id == session
    assert stack.volume_files(effects)[0].read_text().split() == ["0", "1", "2"]
