import asyncio
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.tools.runner import environment_spec
from contracts.egress import Egress
from contracts.environment import EnvironmentSpec, EnvironmentState, SharedMount
from contracts.errors import ErrorType
from contracts.extensions import HarnessExtensions
from contracts.harness import Environment, Filesystem, HarnessConfig, Network, RunConfig
from contracts.messages import ToolStatus
from contracts.records import CallRecord
from contracts.tools import CallState
from environments.host import SandboxHost
from store import Store
from tests.activities.tools.conftest import SESSION, Calls


def told(record: CallRecord) -> dict[str, Any]:
    return json.loads("".join(record.content))


@pytest.mark.wire("tools.shell")
async def test_shell_answers_json_and_another_exit_code_is_a_success(calls: Calls) -> None:
    record = await calls.do("shell", command="echo $GREETING; echo e >&2; exit 2")
    assert record.state is CallState.DONE and record.status is ToolStatus.SUCCESS
    assert told(record) == {"stdout": "hello\n", "stderr": "e\n", "exit_code": 2}


async def test_a_call_that_has_an_outcome_is_not_run_again(calls: Calls) -> None:
    first = await calls.do("shell", command="echo x >> runs; wc -l < runs")
    assert await calls.run(first.id) == first
    assert told(await calls.do("shell", command="wc -l < runs"))["stdout"] == "1\n"


async def test_two_attempts_at_once_run_the_command_once(calls: Calls) -> None:
    (id,) = await calls.ask("shell", {"command": "echo x >> runs; sleep 0.3; wc -l < runs"})
    one, other = await asyncio.gather(calls.run(id), calls.run(id))
    assert one == other and told(one)["stdout"] == "1\n"


async def test_calls_of_one_message_run_at_the_same_time(calls: Calls) -> None:
    ids = await calls.ask("shell", *[{"command": "sleep 2"}] * 4)
    begun = time.monotonic()
    await asyncio.gather(*(calls.run(id) for id in ids))
    assert time.monotonic() - begun < 7


@pytest.mark.wire("tools.shell-timeout")
async def test_a_time_out_is_an_error_with_what_was_written(calls: Calls) -> None:
    record = await calls.do("shell", command="echo part; sleep 60", timeout=1)
    assert record.status is ToolStatus.ERROR
    assert told(record)["stdout"] == "part\n" and told(record)["ended"] == "timed_out"
    assert "ended after 1 seconds" in told(record)["note"]


async def test_cut_output_names_the_file_with_all_of_it(calls: Calls) -> None:
    record = await calls.do("shell", command="seq 100000")
    note = told(record)["note"]
    assert record.status is ToolStatus.SUCCESS and "bytes of output are left out" in note
    path = note.rpartition(" ")[2]
    assert told(await calls.do("shell", command=f"wc -l < {path}"))["stdout"] == "100000\n"


async def test_background_processes_are_told(calls: Calls) -> None:
    record = await calls.do("shell", command="sleep 60 & echo x")
    assert told(record)["stdout"] == "x\n" and "still run" in told(record)["note"]


@pytest.mark.wire("tools.errors")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "command must be a string"),
        ({"command": "true", "timeout": "soon"}, "timeout must be a whole number"),
        ({"command": "true", "timeout": 0}, "timeout must be from 1 to 3600 seconds"),
    ],
)
async def test_bad_arguments_are_an_error_for_the_model(
    calls: Calls, arguments: dict[str, Any], message: str
) -> None:
    record = await calls.do("shell", **arguments)
    assert record.status is ToolStatus.ERROR and message in record.content[0]


@pytest.mark.wire("tools.file-create", "tools.errors")
async def test_file_operations_work_on_the_files_that_commands_see(calls: Calls) -> None:
    made = await calls.do("file_operations", command="create", path="d/f", file_text="a\nb\n")
    assert made.status is ToolStatus.SUCCESS
    assert made.content == ("Successfully created file 'd/f'",)
    assert told(await calls.do("shell", command="cat d/f"))["stdout"] == "a\nb\n"
    shown = await calls.do("file_operations", command="view", path="/mnt/session/d/f")
    assert shown.content == ("1: a\n2: b",)
    failed = await calls.do(
        "file_operations", command="str_replace", path="d/f", old_str="z", new_str="y"
    )
    assert failed.status is ToolStatus.ERROR
    assert failed.content == ("Error: Text not found in file",)
    wrong = await calls.do("file_operations", command="delete", path="d/f")
    assert wrong.status is ToolStatus.ERROR and "command must be one of" in wrong.content[0]


async def test_a_repeated_insert_is_done_once(calls: Calls) -> None:
    await calls.do("file_operations", command="create", path="f", file_text="a")
    insert = {"command": "insert", "path": "f", "insert_line": 0, "new_str": "top"}
    (id,) = await calls.ask("file_operations", insert)
    await asyncio.gather(calls.run(id), calls.run(id))
    shown = await calls.do("file_operations", command="view", path="f")
    assert shown.content == ("1: top\n2: a",)


async def test_a_command_that_ends_its_environment_is_lost_and_the_next_call_hears_of_it(
    calls: Calls,
) -> None:
    await calls.do("shell", command="echo kept > f")
    lost = await calls.do("shell", command="kill -9 2; sleep 60")
    assert lost.status is ToolStatus.ERROR
    assert told(lost)["exit_code"] is None and told(lost)["ended"] == "lost"
    assert "was not run again" in told(lost)["note"]
    after = await calls.do("shell", command="cat f")
    assert told(after)["stdout"] == "kept\n" and "was restarted" in told(after)["note"]
    assert "note" not in told(await calls.do("shell", command="true"))


async def test_a_restart_is_told_once_by_whichever_tool_comes_first(
    calls: Calls, host: SandboxHost
) -> None:
    await calls.do("shell", command="echo kept > f")
    await host.stop(SESSION)
    shown = await calls.do("file_operations", command="view", path="f")
    text = "".join(shown.content)
    assert text.startswith("1: kept") and "Note: The environment was restarted" in text
    assert "note" not in told(await calls.do("shell", command="true"))


def test_everything_of_a_harness_reaches_its_environment() -> None:
    arn = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
    egress = Egress(mode="allow", hosts=("example.com",))
    network = Network.model_validate(
        {
            "networkMode": "VPC",
            "networkModeConfig": {
                "subnets": ["subnet-01234567"],
                "securityGroups": ["sg-01234567"],
            },
        }
    )
    run = RunConfig(
        harness_arn="a",
        harness_name="n",
        harness_version="1",
        actor_id="default",
        config=HarnessConfig(
            execution_role_arn="r",
            environment=Environment(
                filesystems=(
                    Filesystem(kind="efsAccessPoint", mount_path="/mnt/a", access_point_arn=arn),
                    Filesystem(kind="sessionStorage", mount_path="/mnt/work"),
                ),
                network=network,
                container_uri="public.ecr.aws/a/b",
                variables={"A": "1"},
            ),
            extensions=HarnessExtensions(egress=egress),
        ),
    )
    assert environment_spec(run) == EnvironmentSpec(
        mount="/mnt/work",
        variables={"A": "1"},
        shares=(SharedMount(arn, "/mnt/a"),),
        image="public.ecr.aws/a/b",
        subnets=("subnet-01234567",),
        egress=egress,
    )


async def test_a_call_under_way_when_the_environment_restarted_is_not_repeated(
    calls: Calls, host: SandboxHost
) -> None:
    await calls.do("file_operations", command="create", path="f", file_text="a")
    (command,) = await calls.ask("shell", {"command": "echo x >> runs"})
    await calls.store.calls.start(SESSION, command, "an-earlier-boot")
    record = await calls.run(command)
    assert record.status is ToolStatus.ERROR and "was not run again" in told(record)["note"]
    assert told(await calls.do("shell", command="ls"))["stdout"] == "f\n"

    (edit,) = await calls.ask(
        "file_operations", {"command": "insert", "path": "f", "insert_line": 0, "new_str": "b"}
    )
    await calls.store.calls.start(SESSION, edit, "an-earlier-boot")
    assert (await calls.run(edit)).content[0].startswith("Error: the environment restarted")

    (view,) = await calls.ask("file_operations", {"command": "view", "path": "f"})
    await calls.store.calls.start(SESSION, view, "an-earlier-boot")
    assert (await calls.run(view)).content == ("1: a",)


async def _until_running(host: SandboxHost) -> None:
    deadline = time.monotonic() + 10
    async with host.use(SESSION, EnvironmentSpec()) as environment:
        while True:
            probe = await environment.exec(
                f"probe-{time.monotonic_ns()}",
                "test -e begun",
                timeout_s=5,
                output_bytes=100,
                variables={},
            )
            if probe.exit_code == 0:
                return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def _cancelled(
    calls: Calls, host: SandboxHost, details: activity.ActivityCancellationDetails
) -> str:
    command = "touch begun; sleep 1; touch done"
    (id,) = await calls.ask("shell", {"command": command})
    environment = calls.activity()
    attempt = asyncio.create_task(calls.run(id, environment))
    await _until_running(host)
    environment.cancel(details)
    with pytest.raises(asyncio.CancelledError):
        await attempt
    return id


async def test_cancellation_ends_the_command(calls: Calls, host: SandboxHost) -> None:
    details = activity.ActivityCancellationDetails(cancel_requested=True)
    id = await _cancelled(calls, host, details)
    assert (await calls.store.calls.get(SESSION, id)).state is CallState.STARTED
    record = await calls.run(id)
    assert told(record)["ended"] == "cancelled"
    assert told(await calls.do("shell", command="ls"))["stdout"] == "begun\n"


async def test_a_worker_that_shuts_down_leaves_the_command_to_the_retry(
    calls: Calls, host: SandboxHost
) -> None:
    details = activity.ActivityCancellationDetails(worker_shutdown=True)
    id = await _cancelled(calls, host, details)
    record = await calls.run(id)
    assert record.status is ToolStatus.SUCCESS
    assert told(await calls.do("shell", command="ls"))["stdout"] == "begun\ndone\n"


async def test_heartbeats_while_a_command_runs(calls: Calls) -> None:
    beats: list[float] = []
    environment: ActivityEnvironment = calls.activity()
    environment.on_heartbeat = lambda *_: beats.append(time.monotonic())
    (id,) = await calls.ask("shell", {"command": "sleep 1.5"})
    await calls.run(id, environment)
    assert len(beats) >= 2


async def test_without_bubblewrap_the_model_reads_how_to_mend_it_and_nothing_runs(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    record = await calls.do("shell", command=f"touch {tmp_path}/ran")
    assert record.status is ToolStatus.ERROR
    assert "was not run" in record.content[0]
    assert "apt-get install bubblewrap" in record.content[0]
    assert not (tmp_path / "ran").exists()


async def test_the_environment_follows_the_harness(calls: Calls) -> None:
    await calls.do("shell", command="true")
    record = await calls.store.environments.get(SESSION)
    assert record is not None and record.state is EnvironmentState.RUNNING
    assert dataclasses.asdict(record)["reference"]["idle_timeout_s"] == 900


async def test_a_call_of_a_session_that_another_host_has_is_left_to_it(
    calls: Calls, store: Store
) -> None:
    await calls.do("shell", command="true")
    (id,) = await calls.ask("shell", {"command": "echo again >> f"})
    await calls.move_to("there")
    with pytest.raises(ApplicationError) as refused:
        await calls.run(id)
    assert (refused.value.type, refused.value.non_retryable) == (ErrorType.ELSEWHERE, True)
    assert (await store.calls.get(SESSION, id)).state is CallState.REQUESTED
