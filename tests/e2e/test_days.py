"""Days pass while everything is off, and a newer build of the worker comes back."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import everloop
from contracts.ids import HarnessArn, session_key
from everloop.schedules import HarnessSchedule, Schedules
from tests import clock
from tests.e2e.people import Json, gated, own, resumed, vote, waiting
from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until

DAY_S = 86400
#: A business process, and the session of its run.
PROCESS, PROCESS_SESSION = "order-7", everloop.session_id("order", 7)
#: Harness, session, and the decision that waits in it.
Asked = tuple[str, str, Json]


@dataclass(frozen=True)
class Run:
    """The newest run of a session's workflow: its build, and when its newest event happened."""

    build: str
    newest_at: datetime


@contextmanager
def a_life(data_dir: Path, build: str, shift: str | None = None) -> Generator[Stack]:
    """Everything, from its start until all of it is killed with -9."""
    env = {"EVERLOOP_BUILD_ID": build, "EVERLOOP_PROMOTE": "1"}
    stack = Stack(data_dir, clock=shift, **env).start()
    try:
        yield stack
    except BaseException:
        stack.stop()
        raise
    stack.kill_everything()


def ask(stack: Stack, name: str, **rule: Any) -> Asked:
    """Have a command wait for people; its harness, its session and the decision about it."""
    arn, session = gated(stack, {"tools": ["shell"], "action": "ask", **rule}), new_session()
    told = stack.invoke(arn, session, say(f"Run the shell command `echo ran >> {name}`"))
    assert told.stops == ["tool_use"]
    (decision,) = waiting(stack, session)
    return arn, session, decision


def now_of(stack: Stack, asked: Asked) -> Json:
    return own(stack, "GET", f"decisions/{asked[2]['decisionId']}")["decision"]


def lines(stack: Stack, name: str) -> list[str]:
    return [line for file in stack.volume_files(name) for line in file.read_text().split()]


async def newest_run(stack: Stack, asked: Asked) -> Run:
    harness = HarnessArn.parse(asked[0])
    key = session_key(harness.account, harness.harness_id, asked[1])
    client = await Client.connect(stack.temporal)
    handle = client.get_workflow_handle(key)
    info = (await handle.describe()).raw_description.workflow_execution_info
    events = [each async for each in handle.fetch_history_events()]
    # One that waits is moved at once, and has run there only when it goes on.
    moved = info.versioning_info.versioning_override.pinned.version.build_id
    build = moved or info.versioning_info.deployment_version.build_id
    return Run(build, events[-1].event_time.ToDatetime(UTC))


async def begin_process(stack: Stack, arn: str) -> None:
    """A run for others that will wait for a person."""
    client = everloop.Client(await Client.connect(stack.temporal))
    prompt = "Ask for approval of it. Count to 3"
    await client.start(arn, prompt, id=PROCESS, session_id=PROCESS_SESSION)


async def end_of_process(stack: Stack) -> str:
    client = await Client.connect(stack.temporal)
    async with asyncio.timeout(60):
        return (await client.get_workflow_handle(PROCESS).result())["stop_reason"]


async def schedule(stack: Stack, *, at: datetime) -> None:
    """A daily run at a time of the day, each in a session of its own."""
    schedules = Schedules(await Client.connect(stack.temporal))
    await schedules.create(
        "daily",
        stack.harness(),
        "Run the shell command `echo ran >> daily.txt`",
        cron=f"{at.minute} {at.hour} * * *",
    )


async def described(stack: Stack) -> HarnessSchedule:
    return await Schedules(await Client.connect(stack.temporal)).get("daily")


def test_people_and_clocks_are_waited_for_through_days_off_and_newer_builds(
    tmp_path: Path,
) -> None:
    if why := clock.missing():
        pytest.skip(why)
    data_dir = tmp_path / "data"
    late = {"deadlineSeconds": 2 * DAY_S}
    boss = {"deciders": {"roles": ["boss"]}, **late, "onTimeout": "reject"}
    with a_life(data_dir, "first") as stack:
        waits = ask(stack, "waits.txt", deadlineSeconds=10 * DAY_S)
        approved = ask(stack, "approved.txt", **late, onTimeout="approve")
        escalated = ask(stack, "escalated.txt", **late, onTimeout="escalate", escalateTo=boss)
        calls, called = stack.harness(tools=[APPROVAL]), new_session()
        (use,) = stack.invoke(calls, called, say("Ask for approval of it. Count to 3")).tool_uses
        asyncio.run(begin_process(stack, calls))
        wait_until(lambda: waiting(stack, PROCESS_SESSION), what="the process does not wait")
        asked_at = datetime.fromisoformat(waits[2]["requestedAt"])
        asyncio.run(schedule(stack, at=asked_at - timedelta(minutes=10)))
        assert asyncio.run(newest_run(stack, waits)).build == "first"

    with a_life(data_dir, "second", "+3d") as stack:
        assert resumed(stack, *approved)["stopReason"] == "end_turn"
        assert now_of(stack, approved)["decidedBy"] == "everloop:deadline"
        wait_until(lambda: now_of(stack, escalated)["escalated"], what="it was not escalated")
        found = now_of(stack, escalated)
        assert (found["status"], found["deciders"]["roles"]) == ("open", ["boss"])
        due = datetime.fromisoformat(found["dueAt"]) - asked_at
        assert timedelta(days=5) < due < timedelta(days=5, hours=1)
        assert now_of(stack, waits) == waits[2] | now_of(stack, waits)
        assert now_of(stack, waits)["status"] == "open"
        assert asyncio.run(newest_run(stack, waits)).build == "second"
        assert asyncio.run(newest_run(stack, approved)).newest_at > asked_at + timedelta(days=3)
        wait_until(lambda: lines(stack, "daily.txt") == ["ran"], what="the schedule did not run")
        wait_until(lambda: not asyncio.run(described(stack)).running)

    with a_life(data_dir, "third", "+6d") as stack:
        assert datetime.fromisoformat(waits[2]["dueAt"]) > asked_at + timedelta(days=6)
        vote(stack, waits[2], "approve")
        assert resumed(stack, *waits)["stopReason"] == "end_turn"
        assert asyncio.run(newest_run(stack, waits)).build == "third"
        told = stack.invoke(calls, called, answer((use["toolUseId"], "yes")))
        assert told.stops == ["tool_result", "end_turn"]
        assert told.text.split()[-3:] == ["1", "2", "3"]
        (decision,) = waiting(stack, PROCESS_SESSION)
        stack.invoke(calls, PROCESS_SESSION, answer((decision["toolUseId"], "yes")))
        assert asyncio.run(end_of_process(stack)) == "end_turn"
        assert resumed(stack, *escalated)["stopReason"] == "end_turn"
        found = now_of(stack, escalated)
        assert (found["status"], found["decidedBy"]) == ("expired", "everloop:deadline")
        wait_until(lambda: lines(stack, "daily.txt") == ["ran"] * 2, what="it did not run again")
        daily = asyncio.run(described(stack))
        # Of each time off two were due long before, and one ten minutes before the end of it.
        assert (daily.started, daily.missed) == (2, 4)
        assert lines(stack, "waits.txt") == lines(stack, "approved.txt") == ["ran"]
        assert lines(stack, "escalated.txt") == []
