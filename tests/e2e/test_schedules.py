"""Harness runs by the clock: what `everloop schedule` makes, Temporal keeps and starts."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleSpec

from everloop.schedules import NoSuchSchedule, ScheduleRefused, Schedules
from tests.e2e.stack import Stack, wait_until


def told(stack: Stack, *arguments: str) -> Any:
    done = stack.everloop(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def schedule(stack: Stack, *arguments: str) -> Any:
    return told(stack, "schedule", *arguments)["schedule"]


def sessions(stack: Stack, arn: str) -> list[Any]:
    return told(stack, "sessions", arn)["sessions"]


def test_a_triggered_run_happens_once_and_the_schedule_goes_with_delete(stack: Stack) -> None:
    arn, name = stack.harness(), f"watch-{uuid.uuid4().hex}"
    text = ("--text", "Run the shell command `echo ran >> scheduled.txt`.")
    made = schedule(stack, "create", name, "--harness", arn, "--every", "1h", *text)
    assert (made["everySeconds"], made["started"], len(made["nextAt"])) == (3600, 0, 10)
    paused = schedule(stack, "pause", name, "--note", "holidays")
    assert (paused["paused"], paused["note"]) == (True, "holidays")

    def listed() -> Any:
        found = told(stack, "schedule", "list")["schedules"]
        return next((each for each in found if each["name"] == name), None)

    shown: Any = wait_until(listed, what="the schedule is not listed")
    assert (shown["harness"], shown["everySeconds"]) == (arn, 3600)

    told(stack, "schedule", "trigger", name)

    def ended() -> list[Any]:
        return [each for each in sessions(stack, arn) if each["state"] == "idle"]

    (session,) = wait_until(ended, what="no run came")
    assert session["messages"] == 4
    (ran,) = stack.volume_files("scheduled.txt")
    assert ran.read_text() == "ran\n"
    after = schedule(stack, "resume", name)
    assert not after["paused"] and after["started"] == len(after["recent"]) == 1
    told(stack, "schedule", "delete", name)
    gone = stack.everloop("schedule", "get", name)
    assert gone.returncode == 1 and f"no schedule named '{name}'" in gone.stderr


def test_a_due_run_is_skipped_while_one_goes_and_all_share_a_session(stack: Stack) -> None:
    arn, name = stack.harness(), f"tick-{uuid.uuid4().hex}"
    # Nothing ends until the file is there, and a second passes many times before.
    waits = f"touch {name}.begun; until [ -e go ]; do sleep 0.1; done; echo x >> {name}"
    text = f"Run the shell command `{waits}`."
    schedule(
        stack,
        *("create", name, "--harness", arn, "--every", "1s", "--text", text),
        *("--session-id", "ticks"),
    )
    try:
        wait_until(lambda: schedule(stack, "get", name)["skipped"] >= 2, what="nothing skipped")
        going = schedule(stack, "get", name)
        assert len(going["running"]) == going["started"] == 1
        refused = stack.everloop("schedule", "trigger", name)
        assert refused.returncode == 1 and going["running"][0] in refused.stderr
        (session,) = sessions(stack, arn)
        assert session["runtimeSessionId"].startswith("ticks-")
        (begun,) = stack.volume_files(f"{name}.begun")
        begun.with_name("go").touch()
        wait_until(
            lambda: any(len(f.read_text().split()) >= 2 for f in stack.volume_files(name)),
            what="the next run did not begin",
        )
    finally:
        stack.everloop("schedule", "delete", name)
    assert len(sessions(stack, arn)) == 1


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ({"cron": "61 * * * *"}, "Temporal refuses the schedule"),
        ({"cron": "0 7 * * *", "time_zone": "Europe/Nowhere"}, "Nowhere"),
        ({"cron": "0 7 * * *", "every": timedelta(hours=1)}, "either cron or every"),
        ({}, "either cron or every"),
        ({"cron": " "}, "cron must hold"),
        ({"every": timedelta(0)}, "at least 1 s"),
        ({"every": timedelta(hours=1), "time_zone": "UTC"}, "time_zone goes with cron"),
    ],
)
async def test_bad_schedules_are_refused(stack: Stack, when: Any, problem: str) -> None:
    schedules = Schedules(await Client.connect(stack.temporal))
    with pytest.raises(ScheduleRefused, match=problem):
        await schedules.create(f"bad-{uuid.uuid4()}", "any", "Count to 2", **when)


def test_names_are_taken_once_and_harnesses_must_exist(stack: Stack) -> None:
    arn, name = stack.harness(), f"once-{uuid.uuid4()}"
    given = ("schedule", "create", name, "--cron", "0 7 1 1 *", "--text", "Count to 2")
    unknown = stack.everloop(*given, "--harness", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr
    made = stack.everloop(*given, "--harness", arn, "--time-zone", "Europe/Zurich")
    assert made.returncode == 0 and "0 7 1 1 * Europe/Zurich" in made.stdout
    again = stack.everloop(*given, "--harness", arn)
    assert again.returncode == 1 and "already" in again.stderr
    soon = stack.everloop(*given, "--harness", arn, "--timeout", "soon")
    assert soon.returncode == 2 and "--timeout is written as" in soon.stderr
    assert stack.everloop("schedule", "delete", name).returncode == 0


async def test_schedules_of_other_workflows_are_left_alone(stack: Stack) -> None:
    client = await Client.connect(stack.temporal)
    name = f"other-{uuid.uuid4()}"
    action = ScheduleActionStartWorkflow("Other", id="other", task_queue="other")
    other = await client.create_schedule(name, Schedule(action=action, spec=ScheduleSpec()))
    with pytest.raises(NoSuchSchedule, match="not one of a harness"):
        await Schedules(client).delete(name)
    await other.delete()
