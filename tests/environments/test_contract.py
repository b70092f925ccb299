"""What every kind of environment does alike, on each provider that can run here."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.environment import CommandEnd, EnvironmentLimits, EnvironmentSpec
from contracts.errors import EnvironmentGone, EnvironmentUnavailable
from environments import control_groups, engine_calls
from environments.docker import Docker
from environments.host import SandboxHost
from environments.kubernetes import ClusterOptions, Kubernetes
from environments.provider import EnvironmentProvider, Liveness
from store import Store
from tests.environments import engine as engines
from tests.environments.cluster import SANDBOX_VERSION, cluster
from tests.environments.kinds import Make, makes
from tests.environments.sandboxes import SPEC, run
from tests.environments.test_shells import attach


@pytest.fixture
async def provider(make: Make) -> AsyncIterator[EnvironmentProvider]:
    made = make("data")
    yield made
    await made.stop_orphans(())
    await made.close()


async def test_a_command_sees_its_session_and_nothing_of_the_host(provider: EnvironmentProvider):
    os.environ["EVERLOOP_TEST_SECRET"] = "of-the-host"
    try:
        started = await provider.start("a", SPEC, generation=1)
    finally:
        del os.environ["EVERLOOP_TEST_SECRET"]
    channel = provider.connect(started.reference)
    done = await run(
        channel,
        "pwd; whoami; cat /proc/sys/kernel/hostname; env;"
        "grep -E '^(Cap(Eff|Prm)|NoNewPrivs|Seccomp):' /proc/self/status;"
        "touch /usr/x /etc/x 2>&1; ls /root /home; ls /sys/class/net; cat /proc/1/environ",
    )
    assert done.end is CommandEnd.EXITED
    words = done.stdout.split()
    assert words[:3] == ["/mnt/session", "user", "sandbox"]
    assert "of-the-host" not in done.stdout
    assert words.count("0000000000000000") == 2
    assert "NoNewPrivs:\t1" in done.stdout and "Seccomp:\t2" in done.stdout
    assert done.stdout.count("Read-only file system") == 2
    assert "eth0" not in done.stdout


async def test_files_outlive_the_environment_and_processes_do_not(provider: EnvironmentProvider):
    first = await provider.start("a", SPEC, generation=1)
    await run(provider.connect(first.reference), "echo kept > f; sleep 300 & echo started")
    assert await provider.status(first.reference) is Liveness.RUNNING
    await provider.stop(first.reference)
    await provider.stop(first.reference)
    assert await provider.status(first.reference) is Liveness.GONE
    second = await provider.start("a", SPEC, generation=2)
    assert second.boot_id != first.boot_id
    channel = provider.connect(second.reference)
    assert (await run(channel, "cat f; pgrep sleep")).stdout == "kept\n"
    await provider.stop(second.reference)
    await provider.delete("a")
    third = await provider.start("a", SPEC, generation=3)
    assert (await run(provider.connect(third.reference), "ls")).stdout == ""


async def test_what_bounds_it_is_told_to_people(provider: EnvironmentProvider):
    told = provider.described()
    assert {"disk", "host user"} <= told.keys()
    assert any("memory" in name for name in told) and all(told.values())


async def test_an_id_runs_once_whoever_asks(provider: EnvironmentProvider):
    started = await provider.start("a", SPEC, generation=1)
    for _ in range(2):
        channel = provider.connect(started.reference)
        done = await run(channel, "echo x >> count; cat count", id="only")
        assert done.stdout == "x\n"


async def test_a_shell_is_typed_into_and_outlives_its_connection(provider: EnvironmentProvider):
    started = await provider.start("a", SPEC, generation=1)
    channel = provider.connect(started.reference)
    answer, terminal = await attach(channel)
    assert answer.new
    for word in ("one", "two"):
        terminal.type(f"kept={word}; echo $((6 * 7)) $kept\n".encode())
        await terminal.writer.drain()
        await terminal.until(f"42 {word}\r\n".encode())
    terminal.leave()
    again, terminal = await attach(channel, resume=True, after=answer.at)
    assert not again.new
    terminal.type(b"echo still $kept; exit 3\n")
    await terminal.writer.drain()
    assert await terminal.end() == (b"x", (3).to_bytes(4))
    assert b"still two\r\n" in terminal.shown


async def test_limits_end_what_is_greedy_and_nothing_else(provider: EnvironmentProvider):
    limits = EnvironmentLimits(
        memory_bytes=192 * 1024**2,
        processes=40,
        open_files=64,
        file_bytes=8 * 1024**2,
        tmp_bytes=12 * 1024**2,
        cpu_percent=50,
    )
    started = await provider.start("a", replace(SPEC, limits=limits), generation=1)
    channel = provider.connect(started.reference)
    greedy = await run(channel, "exec python3 -c 'x = bytearray(600 * 1024**2)'")
    assert greedy.exit_code in (137, 1) or greedy.end is CommandEnd.OUT_OF_MEMORY
    forks = await run(channel, "for i in $(seq 100); do sleep 1 & done 2>&1; kill $(jobs -p)")
    assert "fork" in forks.stdout or "Resource temporarily" in forks.stdout + forks.stderr
    big = await run(channel, "head -c 20M /dev/zero > big; stat -c %s big")
    assert int(big.stdout) <= limits.file_bytes
    full = await run(
        channel, "for i in 1 2 3; do head -c 7M /dev/zero > /tmp/$i; done; du -sb /tmp"
    )
    assert "No space left" in full.stderr and int(full.stdout.split()[0]) <= limits.tmp_bytes + 4096
    many = await run(channel, "python3 -c 'f = [open(\"/dev/null\") for _ in range(100)]' 2>&1")
    assert "Too many open files" in many.stdout
    # Half of a core; without a group that can bound it, as much as there is.
    busy = await run(channel, f"python3 -c '{BUSY}'")
    if _bounds_processor(provider):
        assert float(busy.stdout) < 0.8
    assert (await run(channel, "echo still here")).stdout == "still here\n"


@pytest.mark.parametrize("make", ["bubblewrap", "docker"], indirect=True)
async def test_hosts_of_one_machine_count_their_processes_apart(make: Make) -> None:
    greedy, other = make("one"), make("other")
    limited = replace(SPEC, limits=EnvironmentLimits(processes=20))
    try:
        first = await greedy.start("a", limited, generation=1)
        filled = await run(greedy.connect(first.reference), f"python3 -c '{FILL}'")
        assert "Resource temporarily unavailable" in filled.stderr
        second = await other.start("a", limited, generation=1)
        done = await run(other.connect(second.reference), "cat /etc/hostname; echo went")
        assert done.stdout.endswith("went\n"), done.stderr
    finally:
        for provider in (greedy, other):
            await provider.stop_orphans(())
            await provider.close()


#: As many processes as there may be. A shell would try again for 15 seconds.
FILL = """
import os, time
while os.fork():
    pass
os.closerange(0, 3)
time.sleep(60)
"""

#: The share of a core that a loop of half a second gets.
BUSY = (
    "import time; began, used = time.monotonic(), time.process_time();\n"
    "while time.monotonic() < began + 0.5: pass\n"
    "print((time.process_time() - used) / (time.monotonic() - began))"
)


def _bounds_processor(provider: EnvironmentProvider) -> bool:
    return provider.name != "bubblewrap" or control_groups.detect()[0] is not None


async def test_sessions_see_nothing_of_each_other(provider: EnvironmentProvider):
    one = await provider.start("a", SPEC, generation=1)
    two = await provider.start("b", SPEC, generation=1)
    await run(
        provider.connect(one.reference), "echo private > f; (exec -a of-the-other sleep 60) &"
    )
    seen = await run(provider.connect(two.reference), "ls -A; ps ax -o args")
    assert "of-the-other" not in seen.stdout and "\nf\n" not in f"\n{seen.stdout}"


async def test_commands_cannot_take_the_place_of_agentd(provider: EnvironmentProvider):
    started = await provider.start("a", SPEC, generation=1)
    channel = provider.connect(started.reference)
    await run(channel, "rm -f /run/everloop/s; touch /run/everloop/x; echo tried")
    assert (await run(channel, "ls /run/everloop 2>/dev/null | grep -c x")).stdout == "0\n"
    assert (await channel.info()).boot_id == started.boot_id


async def test_what_has_no_record_is_ended_and_what_has_one_is_left(
    provider: EnvironmentProvider, make: Make
):
    kept = await provider.start("a", SPEC, generation=1)
    lost = await provider.start("b", SPEC, generation=1)
    other = make("other")
    assert await other.stop_orphans(()) == 0
    heir = make("data")
    assert await heir.stop_orphans((kept.reference,)) == 1
    assert await heir.status(kept.reference) is Liveness.RUNNING
    assert await heir.status(lost.reference) is Liveness.GONE
    for each in (other, heir):
        await each.close()


async def test_an_environment_whose_agentd_was_killed_is_ended(
    provider: EnvironmentProvider, store: Store, tmp_path: Path
):
    data_dir = tmp_path / "data"
    async with SandboxHost(store, data_dir=data_dir, host_id="here", provider=provider) as host:
        async with host.use("a", SPEC) as environment:
            reference = environment.record.reference
            with pytest.raises(EnvironmentGone):
                await run(environment, "kill -9 $PPID; sleep 60")
        assert await provider.status(reference) is Liveness.GONE
        async with host.use("a", SPEC) as environment:
            assert environment.restarted
            assert (await run(environment, "pgrep sleep; echo alone")).stdout == "alone\n"
        await host.delete("a")


async def test_a_host_resumes_a_session_it_stopped(
    provider: EnvironmentProvider, store: Store, tmp_path: Path
):
    async with SandboxHost(
        store, data_dir=tmp_path / "data", host_id="here", provider=provider
    ) as host:
        async with host.use("a", EnvironmentSpec()) as environment:
            assert not environment.restarted
            await run(environment, "echo kept > f")
        await host.stop("a")
        async with host.use("a", EnvironmentSpec()) as environment:
            assert environment.restarted
            assert (await run(environment, "cat f")).stdout == "kept\n"
        await host.delete("a")


async def test_an_engine_that_is_not_there_is_named(tmp_path: Path):
    nowhere = Docker(tmp_path, engine=f"unix://{tmp_path}/nowhere.sock", image="any")
    with pytest.raises(EnvironmentUnavailable, match=r"nowhere\.sock"):
        await nowhere.start("a", SPEC, generation=1)
    await nowhere.close()


async def test_an_engine_that_says_nothing_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answering: list[asyncio.Task[None]] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        answering.append(task)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    monkeypatch.setattr(engine_calls, "ANSWER_S", 0.2)
    server = await asyncio.start_unix_server(silent, tmp_path / "s")
    docker = Docker(tmp_path, engine=f"unix://{tmp_path}/s", image="any")
    with pytest.raises(
        EnvironmentUnavailable, match="does not answer: TimeoutError; is it running"
    ):
        await docker.probe()
    # What cannot be known now is not taken for gone.
    assert await docker.status({"name": "n", "container": "c"}) is Liveness.UNKNOWN
    await docker.close()
    server.close()
    await asyncio.gather(*answering)


async def test_an_image_that_cannot_be_had_is_named(engine: engines.Engine, tmp_path: Path):
    docker = Docker(tmp_path, engine=engine.url, image="localhost:1/nothing:1")
    with pytest.raises(EnvironmentUnavailable, match="localhost:1/nothing:1"):
        await docker.start("a", SPEC, generation=1)
    await docker.close()


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
async def test_an_environment_has_the_image_that_it_asks_for(
    kind: str, request: pytest.FixtureRequest, engine: engines.Engine, tmp_path: Path
):
    other, bare, absent = (f"localhost/everloop-{name}:1" for name in ("other", "bare", "absent"))
    engine.tag(other)
    engine.add_without_programs(bare)
    async with makes(kind, request, tmp_path) as make:
        provider = make("data")
        started = await provider.start("a", replace(SPEC, image=other), generation=1)
        name = str(started.reference["name"])
        container = make.cluster.container(name) if make.cluster else name
        assert engine.image_of(container) == other
        assert (await run(provider.connect(started.reference), "echo inside")).stdout == "inside\n"
        await provider.stop(started.reference)
        with pytest.raises(EnvironmentUnavailable, match=r"did not start.*python3"):
            await provider.start("a", replace(SPEC, image=bare), generation=2)
        if kind == "kubernetes":
            with pytest.raises(EnvironmentUnavailable, match=r"did not start: ErrImagePull"):
                await provider.start("a", replace(SPEC, image=absent), generation=3)
        await provider.close()


async def test_a_cluster_with_agent_sandbox_gets_a_sandbox(engine: engines.Engine, tmp_path: Path):
    async with cluster(engine, tmp_path / "cluster", sandboxes=True) as running:
        options = ClusterOptions(
            namespace=running.namespace, image=engines.IMAGE, kubeconfig=running.kubeconfig
        )
        provider = Kubernetes("data", options, tmp_path / "data")
        started = await provider.start("a", SPEC, generation=1)
        (sandbox,) = running.kept["sandboxes"].values()
        assert sandbox["apiVersion"] == SANDBOX_VERSION
        done = await run(provider.connect(started.reference), "echo inside")
        assert done.stdout == "inside\n"
        await provider.stop(started.reference)
        assert not running.kept["sandboxes"] and not running.kept["pods"]
        assert await provider.status(started.reference) is Liveness.GONE
        assert list(running.kept["networkpolicies"].values())[0]["spec"]["policyTypes"] == [
            "Ingress",
            "Egress",
        ]
        await provider.start("a", SPEC, generation=2)
        await provider.close()
        # A host process that has asked for nothing yet ends both: a Sandbox makes its pod again.
        heir = Kubernetes("data", options, tmp_path / "data")
        assert await heir.stop_orphans(()) == 1
        assert not running.kept["sandboxes"] and not running.kept["pods"]
        await heir.close()
