"""Fire and forget: what a session is sent runs in order, once, past people and past a death."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

import everloop
from everloop.handles import SentState
from everloop.mailbox import mailbox_id
from everloop.sessions import Sessions
from tests.e2e.people import waiting
from tests.e2e.stack import APPROVAL, Stack, answer, wait_until


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("mailbox") / "data").start()
    yield running
    running.stop()


@pytest.fixture
async def client(house: Stack) -> AsyncGenerator[everloop.Client]:
    yield await everloop.connect(house.temporal)


def send_as_json(house: Stack, mailbox: str, request: dict[str, str]) -> None:
    """As another language does: with Temporal's own command, which is written in Go."""
    temporal = Path(sys.executable).parent / "temporal"
    command = [str(temporal), "workflow", "signal-with-start", "--address", house.temporal]
    command += ["--type", "HarnessMailbox", "--task-queue", "everloop", "--workflow-id", mailbox]
    command += ["--signal-name", "run_harness", "--signal-input", json.dumps(request)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ})


async def test_what_is_sent_runs_in_order_and_once_though_a_worker_dies(
    house: Stack, client: everloop.Client
) -> None:
    arn, session = house.harness(), everloop.session_id(uuid.uuid4().hex)
    effects = f"{uuid.uuid4().hex}.effects"

    def work(step: int) -> str:
        return f"Run the shell command `echo {step} >> {effects}; sleep 0.5`."

    async def send(step: int) -> everloop.SentRun:
        return await client.send(arn, work(step), key=f"step-{step}", session_id=session)

    first = await send(0)
    await asyncio.to_thread(wait_until, lambda: house.volume_files(effects))
    await asyncio.to_thread(house.kill, "worker")
    second = await send(1)
    await send(1)
    # What the second one's sender did not wait for, another program sends.
    sent = {"harness": arn, "prompt": work(2), "session_id": session, "key": "step-2"}
    await asyncio.to_thread(send_as_json, house, mailbox_id(arn, session), sent)
    assert (await first.result()).done and (await second.result()).done
    await client.temporal.get_workflow_handle(mailbox_id(arn, session)).result()
    again = await send(2)
    assert (await again.result()).session_id == session
    assert house.volume_files(effects)[0].read_text().split() == ["0", "1", "2"]


async def test_what_is_queued_waits_for_people_and_goes_with_its_session(
    house: Stack, client: everloop.Client
) -> None:
    arn, session = house.harness(tools=[APPROVAL]), everloop.session_id(uuid.uuid4().hex)
    prompts = ("Ask for approval to ship", "Count to 2", "Ask for approval to bill", "Count to 9")
    sent = [await client.send(arn, prompt, session_id=session) for prompt in prompts]
    (decision,) = await asyncio.to_thread(wait_until, lambda: waiting(house, session))
    assert [(await each.standing()).state for each in sent[:2]] == [
        SentState.RUNNING,
        SentState.QUEUED,
    ]
    call = (decision["toolUseId"], "yes")
    await asyncio.to_thread(house.invoke, arn, session, answer(call))
    assert (await sent[1].result()).text == "1 2"

    await asyncio.to_thread(wait_until, lambda: waiting(house, session))
    of = Sessions.at(house.endpoint)
    await asyncio.to_thread(of.delete, arn.rpartition("/")[2], session, wait_s=0)
    with pytest.raises(everloop.HarnessRefused, match="cancelled or terminated"):
        await sent[3].result()
