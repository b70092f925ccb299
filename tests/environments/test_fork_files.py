"""Files that a fork begins with: whole or not there, whoever dies meanwhile."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contracts.environment import EnvironmentRecord, EnvironmentState
from contracts.errors import EnvironmentUnavailable, ServiceError, StaleAttempt
from contracts.ids import session_key
from contracts.sessions import ForkFiles, ForkOrder
from environments import fork_files, snapshots
from environments.fork_files import ForkedFiles
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


IMAGES = pytest.param(
    8 * 1024**2, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root mounts disk images")
)


@pytest.fixture
def volumes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volumes]:
    size: int | None = getattr(request, "param", None)
    made = Volumes(tmp_path / "volumes", image_bytes=size)
    yield made
    for session in ("origin", FORK):
        made.delete(session)


@pytest.fixture
def origin(volumes: Volumes) -> LocalVolume:
    return LocalVolume(*volumes.ensure("origin"), SPEC.mount)


@pytest.fixture
async def forked(volumes: Volumes, store: Store) -> AsyncIterator[ForkedFiles]:
    """Puts files in place, and has no fork yet."""
    files = ForkedFiles(
        store.environments, lambda each: LocalVolume(*volumes.ensure(each), SPEC.mount)
    )
    yield files
    await files.close()


async def put_record(store: Store, staged: str = STAGED) -> EnvironmentRecord:
    reference: dict[str, str | int] = {"staged": staged}
    made = EnvironmentRecord(FORK, "", "here", 1, "", EnvironmentState.FORKED, reference)
    await store.environments.put(made, expected_generation=None)
    return made


@pytest.mark.parametrize("volumes", [None, IMAGES], indirect=True, ids=["directory", "image"])
async def test_a_copy_is_its_own_and_belongs_to_the_forks_user(
    origin: LocalVolume, volumes: Volumes, forked: ForkedFiles, store: Store
) -> None:
    target, user = volumes.ensure(FORK)
    (origin.archives / "d").mkdir()
    (origin.archives / "d" / "f").write_text("then")
    (origin.archives / "out").symlink_to("/etc/passwd")
    for _ in range(2):
        await fork_files.stage(origin, target, STAGED, None)
        (origin.archives / "d" / "f").write_text("now")
    assert list(target.iterdir()) == []
    await forked.begin(await put_record(store))
    assert (target / "d" / "f").read_text() == "then"
    assert os.readlink(target / "out") == "/etc/passwd"
    assert {each.lstat().st_uid for each in (target, *target.rglob("*"))} == {user}
    (target / "d" / "f").write_text("the fork's own")
    await forked.begin(await store.environments.get(FORK))
    assert (target / "d" / "f").read_text() == "the fork's own"
    assert list(beside(target).iterdir()) == []


async def test_a_copy_of_a_snapshot_has_the_files_of_then_and_outlives_it(
    origin: LocalVolume, volumes: Volumes, forked: ForkedFiles, store: Store
) -> None:
    target, _ = volumes.ensure(FORK)
    (origin.archives / "f").write_text("then")
    await snapshots.create(origin, ID, "")
    (origin.archives / "f").write_text("now")
    with pytest.raises(ServiceError, match="no snapshot"):
        await fork_files.stage(origin, target, STAGED, "snap-" + "1" * 32)
    await fork_files.stage(origin, target, STAGED, ID)
    snapshots.remove(origin.archives, ID)
    await forked.begin(await put_record(store))
    assert (target / "f").read_text() == "then"
    assert snapshots.listed(target) == []


async def test_what_was_cut_short_is_done_anew(
    origin: LocalVolume,
    volumes: Volumes,
    forked: ForkedFiles,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, _ = volumes.ensure(FORK)
    (origin.archives / "f").write_text("x")
    left = beside(target) / "copying-left"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    await fork_files.stage(origin, target, STAGED, None)
    assert not left.exists()
    record = await put_record(store)

    async def die(*_: object, **__: object) -> None:
        raise StaleAttempt("the database went away")

    with monkeypatch.context() as patched:
        patched.setattr(store.environments, "put", die)
        with pytest.raises(StaleAttempt):
            await forked.begin(record)
    assert (target / "f").read_text() == "x"
    await forked.begin(record)
    assert (target / "f").read_text() == "x"
    begun = await store.environments.get(FORK)
    assert begun is not None and begun.state is EnvironmentState.FORKED
    assert begun.reference == {"staged": STAGED, "begun": 1}


async def test_a_damaged_copy_is_told_and_stays(
    origin: LocalVolume, volumes: Volumes, forked: ForkedFiles, store: Store
) -> None:
    target, _ = volumes.ensure(FORK)
    (origin.archives / "f").write_bytes(os.urandom(10_000))
    await fork_files.stage(origin, target, STAGED, None)
    (archive,) = beside(target).iterdir()
    archive.write_bytes(archive.read_bytes()[:-5_000])
    record = await put_record(store)
    with pytest.raises(EnvironmentUnavailable, match="not in place: .* is damaged"):
        await forked.begin(record)
    assert list(beside(target).iterdir()) == [archive] and list(target.iterdir()) == []


async def test_who_leaves_leaves_the_work_to_who_comes_next(
    origin: LocalVolume,
    volumes: Volumes,
    forked: ForkedFiles,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, _ = volumes.ensure(FORK)
    await fork_files.stage(origin, target, STAGED, None)
    record = await put_record(store)
    fill, whole, begun = LocalVolume.fill, asyncio.Event(), 0

    async def slow(where: LocalVolume, archive: Path, replace: object) -> None:
        nonlocal begun
        begun += 1
        await whole.wait()
        await fill(where, archive, replace)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(LocalVolume, "fill", slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await forked.begin(record)
    later = asyncio.create_task(forked.begin(record))
    await asyncio.sleep(0)
    whole.set()
    await later
    assert begun == 1


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
    # Whoever looks at the files from outside has them put in place too.
    await host.begin_files(FORK)
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
    shutil.rmtree(beside(host.volume(FORK).archives))
    for _ in range(2):
        with pytest.raises(EnvironmentUnavailable, match="fork the session again"):
            async with host.use(FORK, SPEC):
                pass


async def test_a_copy_that_takes_long_is_told_and_joined(
    host: SandboxHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = await Play.begin(store)
    await play.open("i1")
    whole, begun = asyncio.Event(), 0

    async def slow(*_: object) -> None:
        nonlocal begun
        begun += 1
        await whole.wait()

    monkeypatch.setattr(fork_files, "stage", slow)
    work = SnapshotWork(host)
    for _ in range(2):
        assert not await work.stage(play.session, FORK, STAGED, None, wait_s=0.05)
    with pytest.raises(ServiceError, match="Another snapshot"):
        await work.stage(play.session, FORK, "b" * 32, None, wait_s=0.05)
    whole.set()
    assert await work.stage(play.session, FORK, STAGED, None, wait_s=20)
    assert begun == 1
