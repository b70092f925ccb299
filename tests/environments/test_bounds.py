"""What bounds a sandbox on machines with control groups and without, and its disk."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from contracts.environment import (
    CommandEnd,
    EnvironmentLimits,
    EnvironmentSpec,
    EnvironmentState,
)
from contracts.errors import EnvironmentRefused
from contracts.sandbox_settings import SandboxSettings
from contracts.settings import Settings
from environments import control_groups, disk
from environments.bubblewrap import Bubblewrap
from environments.bubblewrap_profile import in_groups
from environments.control_groups import ControlGroups, detect
from environments.expiry import DAY_S, Expiry
from environments.host import SandboxHost
from store import Store
from store.tables import environment as table
from tests.environments.sandboxes import SPEC, run, until

MIB = 1024**2
LIMITS = EnvironmentLimits(memory_bytes=200 * MIB, processes=40, disk_bytes=16 * MIB)

#: Keeps every child until the end, so that they count together.
FORKS = """import os, time
try:
    for _ in range(60):
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)
except OSError as error:
    print(error.strerror)"""


def files(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_delegated_hierarchy_of_version_2_is_used(tmp_path: Path) -> None:
    group = tmp_path / "cg" / "service"
    files(
        group,
        cgroup_dot_controllers="cpuset cpu io memory pids",
        cgroup_dot_subtree_control="cpu memory pids",
    )
    proc = files(tmp_path / "proc", cgroup="0::/service\n")
    mounts = f"30 1 0:2 / {tmp_path / 'cg'} rw - cgroup2 cgroup2 rw\n"
    found, why = detect(proc=proc, mounts=mounts)
    assert found is not None and (found.version, why) == (2, "")
    root = group / control_groups.PARENT
    assert (root / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max"):
        files(root / "s", **{name.replace(".", "_dot_"): ""})
    assert found.make("s", LIMITS, MIB) == [root / "s"]
    assert (root / "s" / "memory.max").read_text() == str(265 * MIB)
    assert (root / "s" / "memory.swap.max").read_text() == "0"
    assert (root / "s" / "pids.max").read_text() == "48"
    assert (root / "s" / "cpu.max").read_text() == "200000 100000"
    files(root / "s", memory_dot_events="low 0\noom 3\noom_kill 2\n")
    assert control_groups.memory_kills([root / "s"]) == 2


def test_the_service_in_its_own_group_uses_the_one_above(tmp_path: Path) -> None:
    group = files(
        tmp_path / "cg" / "service",
        cgroup_dot_controllers="memory pids",
        cgroup_dot_subtree_control="memory pids",
    )
    proc = files(tmp_path / "proc", cgroup=f"0::/service/{control_groups.OWN_GROUP}\n")
    mounts = f"30 1 0:2 / {tmp_path / 'cg'} rw - cgroup2 cgroup2 rw\n"
    found, _ = detect(proc=proc, mounts=mounts)
    assert found == ControlGroups(2, dict.fromkeys(("memory", "pids"), group / "everloop"))


def test_without_a_writable_hierarchy_there_is_none_and_it_says_why(tmp_path: Path) -> None:
    files(tmp_path / "cg", cgroup_dot_controllers="", cgroup_dot_subtree_control="")
    proc = files(tmp_path / "proc", cgroup="0::/\n4:memory:/gone\n")
    mounts = f"30 1 0:2 / {tmp_path / 'cg'} rw - cgroup2 cgroup2 rw\n"
    found, why = detect(proc=proc, mounts=mounts)
    assert found is None
    assert "version 2 offers no memory" in why and "version 1 has no writable memory" in why


@pytest.mark.parametrize("groups", [True, False], ids=["groups", "no groups"])
async def test_memory_and_processes_are_bounded_either_way(tmp_path: Path, groups: bool) -> None:
    provider = Bubblewrap(tmp_path / "data", settings=SandboxSettings(cgroups=groups))
    spec = EnvironmentSpec(limits=LIMITS)
    try:
        sandbox = provider.connect((await provider.start("s", spec, generation=1)).reference)
        bomb = "python3 -c \"x=[bytearray(b'x') * (32 << 20) for _ in range(90)]\""
        ended = await run(sandbox, bomb)
        assert (ended.end, ended.exit_code) == (CommandEnd.OUT_OF_MEMORY, 137)
        said = await run(sandbox, f"python3 - <<'END'\n{FORKS}\nEND")
        assert said.stdout.endswith("Resource temporarily unavailable\n")
        assert (await run(sandbox, "echo here")).stdout == "here\n"
    finally:
        await provider.stop_orphans(())


@pytest.fixture
def groups() -> ControlGroups:
    found, why = detect()
    if found is None:
        pytest.skip(f"no control groups here: {why}")
    return found


def test_the_kernel_ends_what_grows_too_fast_and_it_is_counted(groups: ControlGroups) -> None:
    made = groups.make(f"test-{os.getpid()}", LIMITS, 0)
    try:
        bomb = (sys.executable, "-c", "x = b'x' * (2 << 30)")
        ended = subprocess.run(in_groups(made, bomb), check=False, timeout=30)
        assert ended.returncode == -signal.SIGKILL
        assert control_groups.memory_kills(made) == 1
        assert [(group / "pids.max").read_text() for group in made if (group / "pids.max").exists()]
    finally:
        control_groups.remove(made)
    assert not any(group.exists() for group in made)


async def test_every_process_of_a_sandbox_is_in_its_groups_which_go_with_it(
    groups: ControlGroups, tmp_path: Path, provider: Bubblewrap
) -> None:
    started = await provider.start("s", EnvironmentSpec(limits=LIMITS), generation=1)
    await run(provider.connect(started.reference), "setsid sleep 60 >/dev/null 2>&1 &")
    name, pid = str(started.reference["name"]), str(started.reference["pid"])

    def inside(group: Path) -> list[str]:
        with contextlib.suppress(OSError):
            return (group / "cgroup.procs").read_text().split()
        return []

    # Other tests of this machine have sessions of the same name.
    named = [group for root in groups.roots.values() for group in root.glob(f"*-{name}")]
    made = [group for group in named if pid in inside(group)]
    assert len(made) == len(groups.roots)
    # bubblewrap, the first process, agentd and the command's child.
    assert all(len(inside(group)) >= 4 for group in made)
    await provider.stop(started.reference)
    assert not any(group.exists() for group in made)


@pytest.fixture
async def small(store: Store, tmp_path: Path) -> AsyncIterator[SandboxHost]:
    settings = SandboxSettings(limits=LIMITS)
    provider = Bubblewrap(tmp_path / "data", settings=settings)
    async with SandboxHost(
        store,
        data_dir=tmp_path / "data",
        host_id="here",
        provider=provider,
        settings=settings,
        look_s=0.05,
    ) as host:
        yield host
    await provider.stop_orphans(())


async def test_a_command_that_fills_the_disk_is_ended_and_the_next_may_only_remove(
    small: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "USED_S", 0.1)
    async with small.use("s", SPEC) as environment:
        ended = await run(
            environment, "for i in $(seq 400); do head -c 1M /dev/zero > f$i; sleep 0.01; done"
        )
        assert ended.end is CommandEnd.OUT_OF_DISK
    async with small.use("s", SPEC) as environment:
        assert environment.full_note is not None and "may take 16 MiB" in environment.full_note
        assert (await run(environment, "echo x > more; cat more")).stdout == ""
        with pytest.raises(EnvironmentRefused, match="rm"):
            await environment.file("w", {"command": "create", "path": "g", "file_text": "x"})
        assert (await environment.file("v", {"command": "view", "path": "."})).startswith("f")
        assert (await run(environment, "rm f*")).exit_code == 0
    async with small.use("s", SPEC) as environment:
        assert environment.full_note is None
        assert (await run(environment, "echo x > more; cat more")).stdout == "x\n"


async def test_what_fills_the_disk_from_the_background_is_stopped(
    small: SandboxHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "UNUSED_S", 0.1)
    monkeypatch.setattr(disk, "USED_S", 0.1)
    fill = "(while :; do head -c 1M /dev/zero >> f; sleep 0.02; done) >/dev/null 2>&1 &"
    async with small.use("s", SPEC) as environment:
        await run(environment, fill)

    async def stopped() -> bool:
        record = await store.environments.get("s")
        return record is not None and record.state is EnvironmentState.STOPPED

    await until(stopped)


@pytest.mark.skipif(os.geteuid() != 0, reason="disk images are mounted by root")
async def test_a_disk_image_bounds_a_session_and_keeps_its_files(tmp_path: Path) -> None:
    settings = SandboxSettings(limits=LIMITS, volume_images=True)
    provider = Bubblewrap(tmp_path / "data", settings=settings)
    spec = EnvironmentSpec(limits=LIMITS)
    volumes = tmp_path / "data" / "volumes"
    try:
        started = await provider.start("s", spec, generation=1)
        sandbox = provider.connect(started.reference)
        filled = await run(sandbox, "echo kept > a; head -c 40M /dev/zero > f; stat -c %s f; rm f")
        assert "No space left" in filled.stderr and int(filled.stdout) < 16 * MIB
        assert provider.used_bytes("s") is None
        await provider.stop(started.reference)
        assert not any(os.path.ismount(path) for path in volumes.iterdir())
        started = await provider.start("s", spec, generation=2)
        assert (await run(provider.connect(started.reference), "cat a; ls")).stdout == "kept\na\n"
        await provider.stop(started.reference)
        await provider.delete("s")
        assert list(volumes.iterdir()) == []
    finally:
        await provider.stop_orphans(())


@pytest.mark.parametrize("engine", ["docker", "kubernetes"])
def test_disk_images_are_refused_where_they_bound_nothing(engine: str) -> None:
    with pytest.raises(ValueError, match=f"EVERLOOP_VOLUME_IMAGES=1 .*EVERLOOP_ENGINE={engine}"):
        Settings.from_env({"EVERLOOP_ENGINE": engine, "EVERLOOP_VOLUME_IMAGES": "1"})


async def _age(store: Store, session: str, days: int) -> None:
    """As if the session had been used so long ago."""
    await store.environments._database.write(  # pyright: ignore[reportPrivateUsage]
        lambda connection: connection.execute(
            sa.update(table)
            .where(table.c.session == session)
            .values(used_at_ms=table.c.used_at_ms - days * DAY_S * 1000)
        )
    )


async def test_files_unused_for_long_are_removed_and_the_model_can_be_told(
    host: SandboxHost, store: Store, provider: Bubblewrap, tmp_path: Path
) -> None:
    for session in ("old", "young", "running"):
        async with host.use(session, SPEC) as environment:
            await run(environment, "echo kept > f")
        if session != "running":
            await host.stop(session)
    await _age(store, "old", 15)
    await _age(store, "young", 13)
    await _age(store, "running", 15)
    expiry = Expiry(store.environments, provider, "here", days=14)
    await expiry.sweep(expiry.remove)
    assert len(list((tmp_path / "data" / "volumes").iterdir())) == 2
    async with host.use("old", SPEC) as environment:
        assert environment.expired
        assert (await run(environment, "ls")).stdout == ""
    for session in ("young", "running"):
        async with host.use(session, SPEC) as environment:
            assert not environment.expired
            assert (await run(environment, "cat f")).stdout == "kept\n"


async def test_with_no_number_of_days_nothing_is_removed(
    host: SandboxHost, store: Store, provider: Bubblewrap, tmp_path: Path
) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "true")
    await host.stop("s")
    await _age(store, "s", 10_000)
    expiry = Expiry(store.environments, provider, "here", days=0)
    await expiry.sweep(expiry.remove)
    assert len(list((tmp_path / "data" / "volumes").iterdir())) == 1


async def test_an_expiry_that_was_cut_short_is_finished_before_the_session_goes_on(
    host: SandboxHost, store: Store
) -> None:
    async with host.use("s", SPEC) as environment:
        await run(environment, "echo kept > f")
    await host.stop("s")
    record = await store.environments.get("s")
    assert record is not None
    marked = replace(record, state=EnvironmentState.EXPIRED, reference={})
    await store.environments.put(marked, expected_generation=record.generation)
    async with host.use("s", SPEC) as environment:
        assert environment.expired
        assert (await run(environment, "ls")).stdout == ""
