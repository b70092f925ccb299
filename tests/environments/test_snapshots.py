"""Snapshots of a volume whose commands are nobody's friends."""

import errno
import os
import tarfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from contracts.errors import AwsError, ServiceError
from environments import agentd_archive, snapshots
from environments.host import SandboxHost
from environments.local_volume import LocalVolume
from environments.volumes import SNAPSHOTS, Volumes, aside, beside, replace_volume
from store import Store
from tests.environments.sandboxes import SPEC, run
from tests.environments.test_take_over import SESSION

ID = "snap-" + "0" * 32
OTHER = "snap-" + "1" * 32


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path / "volumes")


@pytest.fixture
def volume(volumes: Volumes) -> Path:
    return volumes.ensure("s")[0]


def where(volume: Path) -> LocalVolume:
    return LocalVolume(volume, volume.stat().st_uid, "/mnt/session")


def put_back(volume: Path, id: str = ID) -> None:
    archive = snapshots.checked_archive(volume, id)
    with snapshots.unpacked(volume, volume.stat().st_uid, archive) as fresh:
        replace_volume(fresh, volume)


async def test_files_links_modes_and_odd_names_come_back_and_nothing_else(volume: Path) -> None:
    (volume / "d" / "locked").mkdir(parents=True)
    (volume / "d" / "locked" / "f").write_text("kept")
    (volume / "d" / "locked").chmod(0o500)
    (volume / "run.sh").write_text("#!/bin/sh\n")
    (volume / "run.sh").chmod(0o4755)
    (volume / "out").symlink_to("/etc/passwd")
    (volume / "in").symlink_to("d/locked/f")
    odd = os.fsencode(volume) + b"/\xff " + b"n" * 200
    with open(odd, "w") as file:
        file.write("odd")
    os.mkfifo(volume / "pipe")
    os.mkfifo(volume / "d" / "pipe")
    made = await snapshots.create(where(volume), ID, "first")
    assert (made.left_out, made.content_bytes) == (2, 4 + 10 + 3)
    (volume / "run.sh").unlink()
    (volume / "later").write_text("x")
    put_back(volume)
    assert (volume / "d" / "locked" / "f").read_text() == "kept"
    assert (volume / "d" / "locked").stat().st_mode & 0o7777 == 0o500
    assert (volume / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert os.readlink(volume / "out") == "/etc/passwd"
    with open(odd) as file:
        assert file.read() == "odd"
    left = {"d", "run.sh", "out", "in", os.fsdecode(os.path.basename(odd))}
    assert set(os.listdir(volume)) == left
    owner = volume.stat().st_uid
    assert {path.lstat().st_uid for path in volume.rglob("*")} == {owner}


async def test_the_same_id_gives_the_same_snapshot_and_unknown_ones_are_refused(
    volume: Path,
) -> None:
    first = await snapshots.create(where(volume), ID, "")
    (volume / "f").write_text("later")
    assert await snapshots.create(where(volume), ID, "") == first
    assert snapshots.listed(volume) == [first]
    for id in ("../../x", "snap-1", OTHER):
        with pytest.raises(ServiceError):
            snapshots.remove(volume, id)
    snapshots.remove(volume, ID)
    assert snapshots.listed(volume) == []


async def test_too_many_and_too_large_ones_are_refused(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (volume / "f").write_bytes(bytes(100))
    monkeypatch.setattr(agentd_archive, "CONTENT_BYTES", 99)
    with pytest.raises(ServiceError, match="more than 99 bytes"):
        await snapshots.create(where(volume), ID, "")
    monkeypatch.undo()
    monkeypatch.setattr(snapshots, "SNAPSHOTS_MAX", 1)
    await snapshots.create(where(volume), ID, "")
    with pytest.raises(ServiceError, match="has 1 snapshots") as refused:
        await snapshots.create(where(volume), OTHER, "")
    assert refused.value.detail.error is AwsError.QUOTA
    assert len(list((volume.parent / SNAPSHOTS / volume.name).iterdir())) == 2


async def test_a_damaged_archive_changes_nothing(volume: Path) -> None:
    (volume / "f").write_text("now")
    await snapshots.create(where(volume), ID, "")
    archive = volume.parent / SNAPSHOTS / volume.name / f"{ID}.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ServiceError, match="checksum is wrong"):
        put_back(volume)
    assert (volume / "f").read_text() == "now"


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "link/f"])
def test_an_archive_never_leads_out_of_the_volume(tmp_path: Path, name: str) -> None:
    path, into = tmp_path / "a.tar.gz", tmp_path / "into"
    into.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo(name))
    with path.open("rb") as file, pytest.raises((tarfile.TarError, OSError)):
        agentd_archive.unpack(file, into, os.getuid())
    assert set(os.listdir(tmp_path)) == {"a.tar.gz", "into"}


async def test_a_host_that_dies_between_two_renames_loses_nothing(
    volumes: Volumes, volume: Path
) -> None:
    (volume / "f").write_text("kept")
    await snapshots.create(where(volume), ID, "")
    volume.rename(aside(volume))
    assert (volumes.ensure("s")[0] / "f").read_text() == "kept"
    volumes.delete("s")
    assert not (volume.parent / SNAPSHOTS / volume.name).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="disk images are mounted by root")
async def test_files_on_a_disk_image_are_put_back_and_their_disk_is_as_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = Volumes(tmp_path / "volumes", image_bytes=8 * 1024**2)
    volume, user = volumes.ensure("s")
    files = where(volume)
    image = volume.with_name(f"{volume.name}.img")

    async def at_once(
        prepare: Callable[[], Awaitable[None]], put: Callable[[], Awaitable[None]]
    ) -> None:
        await prepare()
        await put()

    try:
        (volume / "f").write_text("then")
        await snapshots.create(files, ID, "")
        (volume / "f").write_text("now")
        (volume / "later").touch()
        size, inode = image.stat().st_size, image.stat().st_ino
        with monkeypatch.context() as patched:
            patched.setattr(snapshots, "unpack", _full)
            with pytest.raises(ServiceError, match="No space left"):
                await snapshots.restore(files, ID, "token", at_once)
        assert (volume / "f").read_text() == "now"
        await snapshots.restore(files, ID, "token", at_once)
        assert os.path.ismount(volume) and os.listdir(volume) == ["f"]
        assert (volume / "f").read_text() == "then" and volume.stat().st_uid == user
        assert image.stat().st_ino != inode and image.stat().st_size == size
        assert [each.name for each in beside(volume).glob("fresh-*")] == []
        volumes.release(volume)
        assert os.listdir(volumes.ensure("s")[0]) == ["f"]
    finally:
        volumes.delete("s")
    assert not image.exists() and not os.path.ismount(volume)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_the_environment_is_stopped_and_told_once(host: SandboxHost, store: Store) -> None:
    await store.hosts.begin_session(
        SESSION, account="000000000000", harness_id="h-0123456789", runtime_session_id="s" * 33
    )
    async with host.use(SESSION, SPEC) as environment:
        await run(environment, "echo before > f")
        files = host.volume(SESSION, SPEC.mount)
        await snapshots.create(files, ID, "")
        await run(environment, "echo after > f; sleep 60 &")
    await snapshots.restore(files, ID, "token", partial(host.replace_files, SESSION))
    assert snapshots.was_restored(files.archives, "token")
    async with host.use(SESSION, SPEC) as environment:
        assert environment.restored and (await run(environment, "cat f")).stdout == "before\n"
    async with host.use(SESSION, SPEC) as environment:
        assert not environment.restored
