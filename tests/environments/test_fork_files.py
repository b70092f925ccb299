"""Files that a fork begins with: whole or not there, whoever dies meanwhile."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from contracts.environment import EnvironmentState
from contracts.errors import EnvironmentUnavailable, ServiceError
from contracts.ids import session_key
from contracts.sessions import ForkFiles, ForkOrder
from environments import fork_files, snapshots
from environments.host import SandboxHost
from environments.local_volume import LocalVolume
from environments.snapshot_work import SnapshotWork
from environments.volumes import Volumes, beside
from store import Store
from tests.environments.sandboxes import SPEC, run
from tests.store.play import ACCOUNT, HARNESS, Play

STAGED = "a" * 32
ID = "snap-" + "0" * 32
FORK = session_key(ACCOUNT, HARNESS, "fork")


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path / "volumes")


def test_a_copy_is_its_own_and_belongs_to_the_forks_user(volumes: Volumes) -> None:
    origin, _ = volumes.ensure("origin")
    target, user = volumes.ensure("fork")
    (origin / "d").mkdir()
    (origin / "d" / "f").write_text("then")
    (origin / "out").symlink_to("/etc/passwd")
    for _ in range(2):
        fork_files.stage(origin, target, user, STAGED, None)
    (origin / "d" / "f").write_text("now")
    assert list(target.iterdir()) == []
    fork_files.put_in_place(target, STAGED)
    assert (target / "d" / "f").read_text() == "then"
    assert os.readlink(target / "out") == "/etc/passwd"
    assert {each.lstat().st_uid for each in (target, *target.rglob("*"))} == {user}
    (target / "d" / "f").write_text("the fork's own")
    fork_files.put_in_place(target, STAGED)
    assert (target / "d" / "f").read_text() == "the fork's own"
    assert (origin / "d" / "f").read_text() == "now"


async def test_a_copy_of_a_snapshot_has_the_files_of_then(volumes: Volumes) -> None:
    origin, _ = volumes.ensure("origin")
    target, user = volumes.ensure("fork")
    (origin / "f").write_text("then")
    await snapshots.create(LocalVolume(origin, 0, "/mnt/session"), ID, "")
    (origin / "f").write_text("now")
    with pytest.raises(ServiceError, match="no snapshot"):
        fork_files.stage(origin, target, user, STAGED, "snap-" + "1" * 32)
    fork_files.stage(origin, target, user, STAGED, ID)
    fork_files.put_in_place(target, STAGED)
    assert (target / "f").read_text() == "then"
    assert [each.id for each in snapshots.listed(origin)] == [ID]
    assert snapshots.listed(target) == []


def test_a_copy_that_was_cut_short_is_made_anew_and_one_that_is_gone_is_told(
    volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, _ = volumes.ensure("origin")
    target, user = volumes.ensure("fork")
    (origin / "f").write_text("x")
    left = beside(target) / "copying-left"
    left.mkdir(parents=True)
    fork_files.stage(origin, target, user, STAGED, None)
    assert not left.exists()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fork_files, "replace_volume", die)
        with pytest.raises(KeyboardInterrupt):
            fork_files.put_in_place(target, STAGED)
    fork_files.put_in_place(target, STAGED)
    assert (target / "f").read_text() == "x"
    with pytest.raises(EnvironmentUnavailable, match="fork the session again"):
        fork_files.put_in_place(target, "b" * 32)


async def fork(store: Store, host: SandboxHost, origin: str) -> None:
    work = SnapshotWork(host)
    assert await work.stage(origin, FORK, STAGED, None, wait_s=20)
    files = ForkFiles(host.name, STAGED)
    order = ForkOrder(origin, FORK, ACCOUNT, HARNESS, "fork", None, "d", files=files)
    await store.forks.fork(order)


async def test_the_first_command_of_a_fork_finds_the_files_and_the_model_is_told(
    host: SandboxHost, store: Store
) -> None:
    play = await Play.begin(store)
    await play.open("i1")
    async with host.use(play.session, SPEC) as environment:
        await run(environment, "echo taken > f")
        await fork(store, host, play.session)
        await run(environment, "echo later > f")
    record = await store.environments.get(FORK)
    assert record is not None and record.state is EnvironmentState.FORKED
    assert await store.environments.assign(FORK, None) == host.name
    async with host.use(FORK, SPEC) as environment:
        assert environment.forked and not environment.restarted
        assert (await run(environment, "cat f")).stdout == "taken\n"
    async with host.use(FORK, SPEC) as environment:
        assert not environment.forked


async def test_a_fork_whose_copy_is_gone_does_not_begin_empty(
    host: SandboxHost, store: Store
) -> None:
    play = await Play.begin(store)
    await play.open("i1")
    await fork(store, host, play.session)
    found = host.directory(FORK)
    assert found is not None
    shutil.rmtree(beside(found[0]))
    for _ in range(2):
        with pytest.raises(EnvironmentUnavailable, match="fork the session again"):
            async with host.use(FORK, SPEC):
                pass


async def test_a_copy_that_takes_long_is_told_and_joined(
    host: SandboxHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = await Play.begin(store)
    await play.open("i1")
    whole, begun = threading.Event(), 0

    def slow(*_: object) -> None:
        nonlocal begun
        begun += 1
        assert whole.wait(20)

    monkeypatch.setattr(fork_files, "stage", slow)
    work = SnapshotWork(host)
    for _ in range(2):
        assert not await work.stage(play.session, FORK, STAGED, None, wait_s=0.05)
    with pytest.raises(ServiceError, match="Another snapshot"):
        await work.stage(play.session, FORK, "b" * 32, None, wait_s=0.05)
    whole.set()
    assert await work.stage(play.session, FORK, STAGED, None, wait_s=20)
    assert begun == 1
