"""A session's files and snapshots from outside, alike on each kind of environment."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from contracts.errors import AwsError, ServiceError
from environments import snapshots
from environments.agentd_restore import PLACE
from environments.agentd_session_files import Listing
from environments.local_volume import volume_of
from environments.provider import EnvironmentProvider, Reference
from environments.session_volume import Content, SessionVolume
from tests.environments import engine as engines
from tests.environments.kinds import Make, makes, thoroughly
from tests.environments.sandboxes import SPEC, run

ID = "snap-" + "0" * 32
BIG = bytes(range(256)) * 8000


@pytest.fixture
async def provider(make: Make) -> AsyncIterator[EnvironmentProvider]:
    made = make("data")
    yield made
    await made.stop_orphans(())
    await made.delete("s")
    await made.close()


@pytest.fixture
def files(provider: EnvironmentProvider) -> SessionVolume:
    return volume_of(provider, "s", SPEC.mount, asyncio.Semaphore(4))


async def names(files: SessionVolume, path: str = ".") -> dict[str, str]:
    async with files.look(path, "") as found:
        assert isinstance(found, Listing) and not found.more
        return {each.name: each.type for each in found.entries if each.name != ".harness"}


async def content(files: SessionVolume, path: str, start: int = 0, end: int = -1) -> bytes:
    async with files.look(path, "") as found:
        assert isinstance(found, Content)
        end = found.size if end < 0 else end
        return b"".join([data async for data in found.pieces(start, end)])


async def refused(call: Awaitable[object]) -> AwsError:
    with pytest.raises(ServiceError) as error:
        await call
    return error.value.detail.error


async def test_files_go_in_and_out_whether_or_not_anything_runs(
    provider: EnvironmentProvider, files: SessionVolume
) -> None:
    whole = hashlib.sha256(BIG).hexdigest()
    assert await names(files) == {}
    written = await files.write("in/data", b"given", None)
    assert (written.name, written.type, written.size) == ("data", "file", 5)
    assert await files.uploaded("upload-1") == 0
    assert await files.write_part("upload-1", 0, BIG[:1000]) == 1000

    started = await provider.start("s", SPEC, generation=1)
    commands = provider.connect(started.reference)
    assert await files.write_part("upload-1", 1000, BIG[1000:]) == len(BIG)
    assert await refused(files.finish("big", "upload-1", 7, None)) is AwsError.VALIDATION
    placed = await files.finish("big", "upload-1", len(BIG), whole)
    # Asked again, because the answer may not have come.
    assert await files.finish("big", "upload-1", len(BIG), whole) == placed
    said = await run(
        commands,
        "stat -c %U in in/data big; cat in/data; sha256sum < big; echo more >> in/data;"
        "ln -s /etc/passwd out; ln -s ../../../../etc/passwd up; ln -s big near; mkfifo pipe",
    )
    assert said.stdout == f"user\nuser\nuser\ngiven{whole}  -\n", said.stderr
    assert await content(files, "near") == BIG
    assert await content(files, "/mnt/session/big", 10, 400_000) == BIG[10:400_000]
    assert await content(files, "in/data") == b"givenmore\n"
    for path in ("out", "up", "/etc/passwd", "..", "pipe", "in/../../x"):
        assert await refused(content(files, path)) is AwsError.VALIDATION, path
    assert await refused(content(files, "absent")) is AwsError.NOT_FOUND
    await provider.stop(started.reference)

    await files.make_directory("d/e")
    assert await refused(files.remove("d", recursive=False)) is AwsError.VALIDATION
    await files.remove("d", recursive=True)
    await files.remove("out", recursive=False)
    kinds = {"in": "directory", "big": "file", "up": "link", "near": "link", "pipe": "other"}
    assert await names(files) == kinds


@thoroughly
async def test_a_snapshot_puts_all_files_back_and_no_others(
    provider: EnvironmentProvider, files: SessionVolume
) -> None:
    running = await provider.start("s", SPEC, generation=1)
    await run(
        provider.connect(running.reference),
        "mkdir -p d/locked; echo kept > d/locked/f; chmod 500 d/locked d; ln -s d/locked l;"
        "printf '#!/bin/sh' > run; chmod 755 run; mkfifo pipe",
    )
    made = await snapshots.create(files, ID, "first")
    assert (made.left_out, made.content_bytes >= 14) == (1, True)
    assert await snapshots.create(files, ID, "first") == made
    replace = replacing(provider, running.reference)
    await run(
        provider.connect(running.reference),
        "chmod 700 d; rm -rf run; echo x > later; mkdir closed; touch closed/f; chmod 500 closed",
    )
    await snapshots.restore(files, ID, "token", replace)
    assert snapshots.was_restored(files.archives, "token")
    kinds = {"d": "directory", "l": "link", "run": "file"}
    assert await names(files) == kinds
    again = await provider.start("s", SPEC, generation=2)
    said = await run(
        provider.connect(again.reference),
        "cat l/f; stat -c '%a %U' d d/locked run; ls -A | grep -v .harness",
    )
    assert said.stdout == "kept\n500 user\n500 user\n755 user\nd\nl\nrun\n", said.stderr

    archive = next(files.archives.parent.glob(".snapshots/*/*.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-1])
    assert await refused(snapshots.restore(files, ID, "other", replace)) is AwsError.VALIDATION
    await provider.stop(again.reference)
    await provider.delete("s")
    assert not list(files.archives.parent.glob(".snapshots/*"))


async def test_a_pod_ends_a_restore_that_was_cut_short(
    engine: engines.Engine, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with makes("kubernetes", request, tmp_path) as make:
        provider = make("data")
        started = await provider.start("s", SPEC, generation=1)
        await run(
            provider.connect(started.reference),
            f"mkdir -p {PLACE}/new {PLACE}/old; echo new > {PLACE}/new/f; touch {PLACE}/in",
        )
        await provider.stop(started.reference)
        again = await provider.start("s", SPEC, generation=2)
        said = await run(provider.connect(again.reference), f"cat f; ls -d {PLACE} 2>&1")
        assert said.stdout.startswith("new\n") and "No such file" in said.stdout
        await provider.stop(again.reference)
        await provider.close()


def replacing(
    provider: EnvironmentProvider, reference: Reference
) -> Callable[[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]], Awaitable[None]]:
    """What a sandbox host does around a restore."""

    async def replace(
        prepare: Callable[[], Awaitable[None]], put: Callable[[], Awaitable[None]]
    ) -> None:
        await provider.stop(reference)
        await prepare()
        await put()

    return replace
