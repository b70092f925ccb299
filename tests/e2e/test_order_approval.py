"""`examples/order_approval.py`: agreed to, turned down, and left lying until it escalates."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError
from temporalio.worker import Worker

from everloop.inbox import Inbox
from examples import order_approval as example
from tests.e2e.stack import Stack, wait_until

EXAMPLE = Path(example.__file__ or "")
LONG_S = 3600

Json = dict[str, Any]


def environment(stack: Stack) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": stack.endpoint,
        "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": stack.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "everloop-dev",
        "AWS_SECRET_ACCESS_KEY": "everloop-dev",
        "TEMPORAL_ADDRESS": stack.temporal,
    }


@pytest.fixture
async def desk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Client]:
    for name, value in environment(stack).items():
        monkeypatch.setenv(name, value)
    client = await Client.connect(stack.temporal)
    async with Worker(
        client,
        task_queue=example.QUEUE,
        workflows=example.WORKFLOWS,
        activities=example.ACTIVITIES,
    ):
        yield client


async def order(client: Client, number: int, rules: Json) -> tuple[str, WorkflowHandle[Any, str]]:
    """An order on its way, and the harness that looks into it."""
    arn = await asyncio.to_thread(example.create_harness, rules)
    handle = await client.start_workflow(
        example.OrderApproval.run,
        example.Order(number, arn),
        id=f"order-{uuid.uuid4()}",
        task_queue=example.QUEUE,
    )
    return arn.rsplit("/", 1)[1], handle


async def asked(stack: Stack, harness_id: str, role: str) -> Json:
    """The decision that the agent asked for, once it is that role's."""
    inbox = Inbox.at(stack.endpoint, user="zoe", roles=(role,))

    def mine() -> Json | None:
        return next(inbox.list(mine=True, harness_id=harness_id), None)

    found = await asyncio.to_thread(wait_until, mine, what=f"nothing waits for {role}")
    assert found is not None
    return found


def test_an_order_that_a_person_releases_is_shipped(stack: Stack) -> None:
    running = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "41"],
        env={**os.environ, **environment(stack)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:

        def everloop(*arguments: str) -> Json:
            done = stack.everloop(*arguments, "--json", "--as", "ada", "--as-role", "sales")
            return json.loads(done.stdout)

        def waits() -> str | None:
            for each in everloop("inbox", "--mine")["decisions"]:
                if "release 41" in each["arguments"].get("command", ""):
                    return each["decisionId"]
            return None

        decision = wait_until(waits, within_s=60, what="nothing waits")
        assert decision is not None
        everloop("decide", decision, "approve")
        said, problems = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert said.splitlines() == [
        "order 41: reserved",
        "order 41: shipping",
        "order 41: shipped, approved by ada",
    ], problems
    assert [file.read_text() for file in stack.volume_files("released.txt")] == ["release 41\n"]


async def test_an_order_that_a_person_turns_down_is_undone(
    stack: Stack, desk: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    harness_id, handle = await order(desk, 42, example.extensions(LONG_S, LONG_S))
    decision = await asked(stack, harness_id, "sales")
    people = Inbox.at(stack.endpoint, user="bob", roles=("sales",))
    await asyncio.to_thread(people.reject, decision, reason="unknown customer")
    assert await handle.result() == "order 42: cancelled, rejected by bob"
    said = capfd.readouterr().out.splitlines()
    assert said == ["order 42: reserved", "order 42: reservation cancelled"]


async def test_an_order_that_lies_too_long_is_the_managements(stack: Stack, desk: Client) -> None:
    harness_id, handle = await order(desk, 43, example.extensions(1, LONG_S))
    decision = await asked(stack, harness_id, "management")
    boss = Inbox.at(stack.endpoint, user="cleo", roles=("management",))
    await asyncio.to_thread(boss.approve, decision)
    assert await handle.result() == "order 43: shipped, approved by cleo"


async def test_an_order_that_nobody_decides_about_is_undone(
    stack: Stack, desk: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    _, handle = await order(desk, 44, example.extensions(1, 1))
    assert await handle.result() == "order 44: cancelled, expired by everloop:deadline"
    assert "order 44: reservation cancelled" in capfd.readouterr().out


async def test_an_order_that_is_called_off_is_undone(
    stack: Stack, desk: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    harness_id, handle = await order(desk, 45, example.extensions())
    decision = await asked(stack, harness_id, "sales")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as ended:
        await handle.result()
    assert isinstance(ended.value.cause, CancelledError)
    assert "order 45: reservation cancelled" in capfd.readouterr().out
    inbox = Inbox.at(stack.endpoint)
    found = await asyncio.to_thread(inbox.get, decision["decisionId"])
    assert found["status"] == "withdrawn"
