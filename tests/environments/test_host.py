import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.environment import CommandEnd, EnvironmentSpec, EnvironmentState
from contracts.errors import EnvironmentGone, EnvironmentUnavailable, StaleAttempt
from environments import bubblewrap_profile, sockets
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from environments.processes import start_time
from environments.provider import Liveness
from store import Store
from tests.environments.sandboxes import SPEC, run, until

HOST_PROCESS = """
import asyncio, pathlib, sys
from contracts.environment import EnvironmentSpec
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from store import Store

async def main():
    store = await Store.open(sys.argv[1])
    async with SandboxHost(store, data_dir=pathlib.Path(sys.argv[2]), host_id="here") as host:
        async with host.use("s", EnvironmentSpec()) as environment:
            call = asyncio.create_task(environment.exec(
                "long", sys.argv[3], timeout_s=60, output_bytes=1000, variables={}))
            agent = Bubblewrap(pathlib.Path(sys.argv[2])).connect(environment.record.reference)
            while not (await agent.info()).running:
                await asyncio.sleep(0.01)
            print(environment.record.boot_id, flush=True)
            await call

asyncio.run(main())
"""


async def test_calls_at_once_get_one_environment(host: SandboxHost) -> None:
    async def boot() -> str:
        async with host.use("s", SPEC) as environment:
            return environment.record.boot_id

    assert len(set(await asyncio.gather(*(boot() for _ in range(5))))) == 1


async def test_a_host_killed_and_restarted_rejoins_running_commands(
    store: Store, provider: Bubblewrap, tmp_path: Path, database_url: str
) -> None:
    command = "echo ran >> runs; for i in 1 2 3 4; do sleep 0.4; echo $i; done; wc -l < runs"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOST_PROCESS, database_url, str(tmp_path / "data"), command),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    boot_id = (await process.stdout.readline()).decode().strip()
    process.kill()
    await process.wait()
    async with SandboxHost(
        store, data_dir=tmp_path / "data", host_id="here", provider=provider
    ) as host:
        async with host.use("s", SPEC) as environment:
            assert environment.record.boot_id == boot_id and not environment.restarted
            result = await run(environment, command, id="long")
    assert (result.end, result.stdout) == (CommandEnd.EXITED, "1\n2\n3\n4\n1\n")


async def test_a_command_that_kills_its_environment_is_lost_and_files_are_kept(
    host: SandboxHost,
) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "echo kept > f")
        with pytest.raises(EnvironmentGone):
            await run(environment, "kill -9 2; sleep 60")
        first = environment.record
    async with host.use("s", SPEC) as environment:
        assert environment.restarted
        assert environment.record.boot_id != first.boot_id
        assert environment.record.generation == first.generation + 1
        assert (await run(environment, "cat f")).stdout == "kept\n"
    async with host.use("s", SPEC) as environment:
        assert not environment.restarted


async def test_an_environment_whose_agentd_speaks_nonsense_is_ended(
    host: SandboxHost, provider: Bubblewrap, tmp_path: Path
) -> None:
    async with host.use("s", SPEC) as environment:
        path = next((tmp_path / "data" / "run" / "sandboxes").glob("*/*/s"))
        path.unlink()
        server = await asyncio.start_unix_server(_nonsense, sock=sockets.listen(path))
        with pytest.raises(EnvironmentGone):
            await run(environment, "true")
        server.close()
        assert await provider.status(environment.record.reference) is Liveness.GONE


async def _nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b'{"ok": true, "result": []}\n')
    writer.close()


@pytest.mark.wire("session.lifecycle")
async def test_idle_environments_stop_and_keep_their_files(host: SandboxHost, store: Store) -> None:
    spec = EnvironmentSpec(idle_timeout_s=1)
    async with host.use("s", spec) as environment:
        await run(environment, "echo kept > f")
        pid = int(environment.record.reference["pid"])

    async def stopped() -> bool:
        record = await store.environments.get("s")
        return record is not None and record.state is EnvironmentState.STOPPED

    await until(stopped, within_s=6)
    assert start_time(pid) is None
    async with host.use("s", spec) as environment:
        assert environment.restarted
        assert (await run(environment, "cat f")).stdout == "kept\n"


async def test_never_stops_while_a_process_runs(host: SandboxHost, store: Store) -> None:
    spec = EnvironmentSpec(idle_timeout_s=1)
    async with host.use("s", spec) as environment:
        await run(environment, "nohup bash -c 'sleep 2.5; date > ended' >/dev/null 2>&1 &")
    begun = time.monotonic()

    async def stopped() -> bool:
        record = await store.environments.get("s")
        return record is not None and record.state is EnvironmentState.STOPPED

    await until(stopped, within_s=10)
    assert time.monotonic() - begun > 3.2
    async with host.use("s", spec) as environment:
        assert (await run(environment, "cat ended")).stdout != ""


async def test_a_host_that_leaves_stops_what_is_unused_and_nothing_else(
    host: SandboxHost, store: Store
) -> None:
    async with host.use("unused", EnvironmentSpec()) as environment:
        await run(environment, "echo kept > f")
    async with host.use("busy", EnvironmentSpec()) as environment:
        await run(environment, "sleep 60 &")
    await host.stop_unused()
    records = {name: await store.environments.get(name) for name in ("unused", "busy")}
    states = {name: record.state for name, record in records.items() if record}
    assert states == {"unused": EnvironmentState.STOPPED, "busy": EnvironmentState.RUNNING}
    async with host.use("unused", EnvironmentSpec()) as environment:
        assert (await run(environment, "cat f")).stdout == "kept\n"


async def test_an_environment_that_no_host_looks_after_ends_by_itself(
    provider: Bubblewrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap_profile, "UNATTENDED_S", 0)
    started = await provider.start("s", EnvironmentSpec(idle_timeout_s=1), generation=1)
    await run(provider.connect(started.reference), "sleep 1.5 &")

    async def gone() -> bool:
        return await provider.status(started.reference) is Liveness.GONE

    begun = time.monotonic()
    await until(gone)
    assert time.monotonic() - begun > 2


async def test_never_stops_while_a_call_uses_it(host: SandboxHost, store: Store) -> None:
    async with host.use("s", EnvironmentSpec(idle_timeout_s=0, max_lifetime_s=0)) as environment:
        await run(environment, "sleep 0.5")
        assert (await run(environment, "echo here")).stdout == "here\n"
        record = await store.environments.get("s")
        assert record is not None and record.state is EnvironmentState.RUNNING


async def test_stops_at_the_end_of_its_life_whatever_runs_in_the_background(
    host: SandboxHost, store: Store
) -> None:
    async with host.use("s", EnvironmentSpec(max_lifetime_s=1)) as environment:
        await run(environment, "sleep 60 >/dev/null 2>&1 &")

    async def stopped() -> bool:
        record = await store.environments.get("s")
        return record is not None and record.state is EnvironmentState.STOPPED

    await until(stopped, within_s=8)


async def test_stopping_lets_processes_end_by_themselves(host: SandboxHost) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "(trap 'echo saved > f; exit' TERM; while :; do sleep 0.05; done) &")
    await host.stop("s")
    await host.stop("s")
    async with host.use("s", SPEC) as environment:
        assert (await run(environment, "cat f")).stdout == "saved\n"


async def test_sandboxes_without_a_record_are_ended_at_the_start(
    store: Store, provider: Bubblewrap, tmp_path: Path
) -> None:
    orphan = await provider.start("orphan", SPEC, generation=1)
    async with SandboxHost(store, data_dir=tmp_path / "data", host_id="here", provider=provider):
        assert await provider.status(orphan.reference) is Liveness.GONE


async def test_records_of_sandboxes_that_ended_are_corrected_at_the_start(
    store: Store, provider: Bubblewrap, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    async with SandboxHost(store, data_dir=data, host_id="here", provider=provider) as host:
        async with host.use("s", SPEC) as environment:
            reference = environment.record.reference
            os.kill(int(reference["pid"]), signal.SIGKILL)

    async def gone() -> bool:
        return await provider.status(reference) is Liveness.GONE

    await until(gone)
    async with SandboxHost(store, data_dir=data, host_id="here", provider=provider):
        record = await store.environments.get("s")
        assert record is not None and record.state is EnvironmentState.STOPPED


async def test_a_reused_process_id_is_not_taken_for_the_sandbox(provider: Bubblewrap) -> None:
    bystander = os.getpid()
    reference = {"name": "gone", "pid": bystander, "start_time": 1, "machine": "elsewhere"}
    assert await provider.status(reference) is Liveness.GONE
    await provider.stop(reference)
    assert start_time(bystander) is not None


async def test_one_live_host_owns_a_data_directory(
    host: SandboxHost, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("environments.host.PREDECESSOR_S", 0.2)
    with pytest.raises(EnvironmentUnavailable, match="another sandbox host owns"):
        await SandboxHost(store, data_dir=tmp_path / "data", host_id="here").__aenter__()


async def test_a_host_that_was_overtaken_starts_nothing(
    store: Store, provider: Bubblewrap, tmp_path: Path
) -> None:
    # One that does not look meanwhile: it might learn of its loss before the next call does.
    unaware = SandboxHost(
        store, data_dir=tmp_path / "data", host_id="here", provider=provider, look_s=3600
    )
    async with unaware as host:
        async with host.use("s", SPEC) as environment:
            record = environment.record
        await provider.stop(record.reference)
        overtaken = replace(record, host="there", generation=record.generation + 1)
        await store.environments.put(overtaken, expected_generation=record.generation)
        with pytest.raises(StaleAttempt):
            async with host.use("s", SPEC):
                pass
        assert await store.environments.get("s") == overtaken


async def test_an_environment_of_another_living_host_is_left_alone(
    host: SandboxHost, store: Store
) -> None:
    async with host.use("mine", SPEC) as environment:
        record = replace(environment.record, session="theirs", host="there")
    await store.environments.put(record, expected_generation=None)
    await store.environments.beat("there", lease_s=60)
    with pytest.raises(StaleAttempt, match="runs on the sandbox host 'there'"):
        async with host.use("theirs", SPEC):
            pass


async def test_a_host_keeps_its_lease(host: SandboxHost, store: Store) -> None:
    assert await store.environments.alive() == ("here",)


@pytest.mark.wire("session.storage")
async def test_another_mount_makes_another_environment_with_the_same_files(
    host: SandboxHost,
) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "echo kept > f")
    async with host.use("s", EnvironmentSpec(mount="/mnt/data")) as environment:
        assert (await run(environment, "pwd; cat f")).stdout == "/mnt/data\nkept\n"


async def test_delete_removes_the_files(host: SandboxHost, store: Store, tmp_path: Path) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "mkdir -p d/e; touch d/e/f; chmod 0 d/e d")
    await host.delete("s")
    assert list((tmp_path / "data" / "volumes").iterdir()) == []
    assert await store.environments.get("s") is None
    async with host.use("s", SPEC) as environment:
        assert not environment.restarted
        assert (await run(environment, "ls -A")).stdout == ""
