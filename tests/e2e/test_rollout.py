"""A session waits for a person through a restart of everything and a new build of the worker."""

import asyncio
from pathlib import Path

from temporalio.client import Client

import everloop
from contracts.ids import HarnessArn, session_key
from tests.e2e.people import waiting
from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until

RUN, RUN_SESSION = "order-7", everloop.session_id("order", 7)


def build(data_dir: Path, build_id: str) -> Stack:
    return Stack(data_dir, EVERLOOP_BUILD_ID=build_id, EVERLOOP_PROMOTE="1").start()


async def ran_on(stack: Stack, session: str) -> str:
    """The build of the newest run of a session."""
    client = await Client.connect(stack.temporal)
    description = await client.get_workflow_handle(session).describe()
    info = description.raw_description.workflow_execution_info.versioning_info
    return info.deployment_version.build_id or info.versioning_override.pinned.version.build_id


async def begin_run(stack: Stack, arn: str) -> None:
    """A business process that will wait for a person."""
    client = everloop.Client(await Client.connect(stack.temporal))
    await client.start(arn, "Ask for approval of it. Count to 3", id=RUN, session_id=RUN_SESSION)


async def end_of_run(stack: Stack) -> str:
    client = await Client.connect(stack.temporal)
    async with asyncio.timeout(60):
        return (await client.get_workflow_handle(RUN).result())["stop_reason"]


def test_what_waits_goes_on_on_the_build_that_is_current_then(tmp_path: Path) -> None:
    first = build(tmp_path / "data", "first")
    try:
        arn, session = first.harness(tools=[APPROVAL]), new_session()
        parsed = HarnessArn.parse(arn)
        key = session_key(parsed.account, parsed.harness_id, session)
        told = first.invoke(arn, session, say("Ask for approval of it. Count to 3"))
        assert told.stops == ["tool_use"]
        (use,) = told.tool_uses
        assert asyncio.run(ran_on(first, key)) == "first"
        asyncio.run(begin_run(first, arn))
        wait_until(lambda: waiting(first, RUN_SESSION), what="the process does not wait")
    finally:
        first.stop()
    second = build(tmp_path / "data", "second")
    try:
        resumed = second.invoke(arn, session, answer((use["toolUseId"], "yes")))
        assert resumed.stops == ["tool_result", "end_turn"]
        assert resumed.text.split()[-3:] == ["1", "2", "3"]
        assert asyncio.run(ran_on(second, key)) == "second"
        (decision,) = waiting(second, RUN_SESSION)
        second.invoke(arn, RUN_SESSION, answer((decision["toolUseId"], "yes")))
        assert asyncio.run(end_of_run(second)) == "end_turn"
    finally:
        second.stop()
