import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from contracts.environment import CommandEnd, EnvironmentLimits, EnvironmentSpec
from contracts.errors import EnvironmentRefused
from environments.channel import AgentChannel
from tests.environments.sandboxes import run, until

Start = Callable[..., Awaitable[AgentChannel]]


async def test_gives_output_and_exit_code(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "echo out; echo err >&2; exit 3")
    assert (result.end, result.exit_code) == (CommandEnd.EXITED, 3)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert not result.background and result.output_file is None and result.left_out_bytes == 0


async def test_exit_by_a_signal_is_told_as_a_shell_does(sandbox: AgentChannel) -> None:
    assert (await run(sandbox, "kill -KILL $$")).exit_code == 137


async def test_an_id_runs_once_under_concurrent_and_repeated_calls(sandbox: AgentChannel) -> None:
    command = "echo ran >> runs; sleep 0.3; wc -l < runs"
    results = await asyncio.gather(*(run(sandbox, command, id="same") for _ in range(10)))
    results.append(await run(sandbox, command, id="same"))
    assert {result.stdout for result in results} == {"1\n"}
    assert (await run(sandbox, "wc -l < runs")).stdout == "1\n"


async def test_a_caller_that_goes_away_leaves_its_command_running(sandbox: AgentChannel) -> None:
    call = asyncio.create_task(run(sandbox, "echo x >> runs; sleep 0.5; echo done", id="left"))

    async def begun() -> bool:
        return (await sandbox.info()).running == 1

    await until(begun)
    call.cancel()
    await asyncio.wait([call])
    assert (await run(sandbox, "echo never", id="left")).stdout == "done\n"
    assert (await run(sandbox, "cat runs")).stdout == "x\n"


async def test_a_background_child_does_not_hold_up_the_call_and_lives_on(
    sandbox: AgentChannel,
) -> None:
    begun = time.monotonic()
    result = await run(sandbox, "(sleep 4; echo late; touch made) & echo x")
    assert time.monotonic() - begun < 3
    assert result.stdout == "x\n" and result.background and result.output_file
    assert (await sandbox.info()).processes > 0

    async def made() -> bool:
        return (await run(sandbox, "test -e made")).exit_code == 0

    await until(made)
    assert (await run(sandbox, f"cat {result.output_file}")).stdout == "x\nlate\n"


async def test_a_time_out_ends_the_group_and_gives_what_was_written(sandbox: AgentChannel) -> None:
    begun = time.monotonic()
    result = await run(sandbox, "echo before; sleep 60 & wait", timeout_s=1)
    assert time.monotonic() - begun < 10
    assert (result.end, result.stdout) == (CommandEnd.TIMED_OUT, "before\n")
    assert (await sandbox.info()).processes == 0


async def test_a_command_that_ignores_term_is_killed_two_seconds_later(
    sandbox: AgentChannel,
) -> None:
    begun = time.monotonic()
    result = await run(sandbox, "trap '' TERM; echo on; while :; do sleep 1; done", timeout_s=1)
    assert 2.9 < time.monotonic() - begun < 6
    assert (result.end, result.exit_code, result.stdout) == (CommandEnd.TIMED_OUT, 137, "on\n")


async def test_cancel_ends_a_command(sandbox: AgentChannel) -> None:
    call = asyncio.create_task(run(sandbox, "echo begun > mark; sleep 60", id="long"))

    async def begun() -> bool:
        return (await sandbox.info()).running == 1

    await until(begun)
    await sandbox.cancel("long")
    assert (await call).end is CommandEnd.CANCELLED


async def test_cancel_before_the_command_came_keeps_it_from_running(sandbox: AgentChannel) -> None:
    await sandbox.cancel("early")
    assert (await run(sandbox, "touch ran", id="early")).end is CommandEnd.CANCELLED
    assert (await run(sandbox, "ls")).stdout == ""


async def test_large_output_keeps_head_and_tail_and_the_rest_in_a_file(
    sandbox: AgentChannel,
) -> None:
    result = await run(sandbox, "seq 1000000; seq 5 >&2", output_bytes=10_000)
    assert result.stdout.startswith("1\n2\n3\n") and result.stdout.endswith("999999\n1000000\n")
    assert f"[... {result.left_out_bytes} bytes left out; the full output is in " in result.stdout
    assert len(result.stdout) < 10_200 and result.stderr == "1\n2\n3\n4\n5\n"
    assert result.left_out_bytes == 6888896 - 9990
    assert result.output_file is not None
    again = await run(sandbox, f"md5sum < {result.output_file}; seq 1000000 | md5sum")
    assert len(set(again.stdout.splitlines())) == 1


async def test_endless_output_does_not_fill_the_volume(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "yes", timeout_s=1)
    assert result.end is CommandEnd.TIMED_OUT
    assert int((await run(sandbox, "du -sm .harness")).stdout.split()[0]) <= 65


async def test_cut_output_never_splits_a_character(sandbox: AgentChannel) -> None:
    result = await run(
        sandbox, "python3 -c \"print('x' + '\\u20ac' * 20000, end='')\"", output_bytes=1000
    )
    assert "\ufffd" not in result.stdout and result.stdout.count("\u20ac") > 300


async def test_a_command_over_the_memory_limit_is_killed_and_the_environment_goes_on(
    start: Start,
) -> None:
    spec = EnvironmentSpec(limits=EnvironmentLimits(memory_bytes=200 * 1024**2))
    sandbox = await start(spec=spec)
    hog = "a = []\nwhile True: a.append(bytearray(4_000_000))"
    modest = asyncio.create_task(run(sandbox, "sleep 2; echo fine"))
    result = await run(sandbox, f"python3 -c '{hog}'", id="hog")
    assert (result.end, result.exit_code) == (CommandEnd.OUT_OF_MEMORY, 137)
    assert (await modest).stdout == "fine\n"


async def test_memory_that_processes_share_counts_once(start: Start) -> None:
    spec = EnvironmentSpec(limits=EnvironmentLimits(memory_bytes=200 * 1024**2))
    sandbox = await start(spec=spec)
    program = "\n".join(
        (
            "import os, time",
            "a = bytearray(100_000_000)",
            "children = [os.fork() or (time.sleep(0.8), os._exit(0)) for _ in range(4)]",
            "[os.wait() for _ in range(4)]",
        )
    )
    assert (await run(sandbox, f'python3 -c "{program}"')).end is CommandEnd.EXITED


async def test_a_fork_bomb_is_bounded_and_leaves_room_for_the_next_command(
    sandbox: AgentChannel,
) -> None:
    bomb = asyncio.create_task(
        run(sandbox, "bomb() { bomb | bomb & }; bomb; sleep 60", timeout_s=3)
    )

    async def full() -> bool:
        return (await sandbox.info()).processes > 200

    await until(full)
    assert (await sandbox.info()).processes <= EnvironmentLimits().processes
    assert (await run(sandbox, "echo still")).stdout == "still\n"
    assert (await bomb).end is CommandEnd.TIMED_OUT


async def test_commands_share_files_but_not_variables(sandbox: AgentChannel) -> None:
    await run(sandbox, "export MARK=1; cd /tmp; echo kept > $HOME/f")
    assert (await run(sandbox, "pwd; echo [$MARK]; cat f")).stdout == "/mnt/session\n[]\nkept\n"


async def test_variables_reach_commands(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "echo $GREETING", variables={"GREETING": "hello"})
    assert result.stdout == "hello\n"


async def test_what_cannot_be_started_says_why(sandbox: AgentChannel) -> None:
    result = await run(sandbox, "echo \0")
    assert result.exit_code == 126 and "null byte" in result.stderr
    with pytest.raises(EnvironmentRefused, match="command is missing or not what it must be"):
        await run(sandbox, "x" * 200_000)


async def test_at_most_32_commands_run_at_once(sandbox: AgentChannel) -> None:
    calls = [asyncio.create_task(run(sandbox, "sleep 1")) for _ in range(33)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, EnvironmentRefused)]
    assert [error.code for error in refused] == ["busy"]
