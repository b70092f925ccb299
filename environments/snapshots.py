"""Snapshots of sessions' files: made, listed, put back, removed. What is not async blocks.

They are beside the volumes, so that hosts which share volumes share them, in a directory for each
session that its commands cannot see. `<id>.tar.gz` is the archive; `<id>.json`, which comes last,
says that it is whole. They go with the session's files.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Awaitable, Callable, Container, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from contracts.errors import AwsError, ServiceError, invalid
from environments.agentd_archive import CHUNK, Packed, unpack
from environments.session_volume import Replace, SessionVolume
from environments.volumes import beside, fresh_volume

#: Snapshots of one session that somebody asked for; those of rules have a number of their own.
SNAPSHOTS_MAX = 16
#: An id, which the API makes.
SNAPSHOT_ID = re.compile(r"snap-[0-9a-f]{32}")
#: Says which restore was the last.
_LAST_RESTORE = "last-restore"
#: A label that a caller gives.
LABEL_CHARACTERS = 200


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is whole.

    Attributes:
        id: its name in the session.
        label: what its maker calls it.
        created_at: UTC, ISO 8601.
        archive_bytes: what it takes on the disk.
        content_bytes: of all files.
        entries: files, directories and links.
        left_out: sockets, pipes and devices, which are not in it.
        sha256: of the archive.
        call_id: the tool call that a rule wanted it before.
    """

    id: str
    label: str
    created_at: str
    archive_bytes: int
    content_bytes: int
    entries: int
    left_out: int
    sha256: str
    call_id: str | None = None


def begin(volume: Path, id: str, label: str, call_id: str | None) -> Snapshot | Path:
    """Begin a snapshot, unless the session has one of this id.

    Returns:
        It, or where the archive goes, for `complete`.

    Raises:
        ServiceError: ValidationException; ServiceQuotaExceededException, the session has too many.
    """
    _check_id(id)
    if len(label) > LABEL_CHARACTERS:
        raise invalid("label", f"must have at most {LABEL_CHARACTERS} characters")
    directory = beside(volume)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    existing = {each.id: each for each in listed(volume)}
    if id in existing:
        return existing[id]
    asked_for = sum(each.call_id is None for each in existing.values())
    if call_id is None and asked_for >= SNAPSHOTS_MAX:
        raise ServiceError(
            AwsError.QUOTA, f"The session has {SNAPSHOTS_MAX} snapshots; remove one first."
        )
    _clear(directory, existing)
    return directory / f"{id}.part"


def complete(volume: Path, id: str, label: str, call_id: str | None, packed: Packed) -> Snapshot:
    """Make the archive that was written where `begin` said a snapshot."""
    directory = beside(volume)
    fresh = directory / f"{id}.part"
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
        digest = _digest(file)
    made = Snapshot(
        id=id,
        label=label,
        created_at=datetime.now(UTC).isoformat(),
        archive_bytes=fresh.stat().st_size,
        content_bytes=packed.content_bytes,
        entries=packed.entries,
        left_out=packed.left_out,
        sha256=digest,
        call_id=call_id,
    )
    fresh.rename(_archive(directory, id))
    note = directory / f"{id}.json.part"
    note.write_text(json.dumps(asdict(made)))
    note.rename(directory / f"{id}.json")
    return made


async def create(
    where: SessionVolume, id: str, label: str, *, call_id: str | None = None
) -> Snapshot:
    """Make a snapshot, unless the session has one of this id.

    Args:
        where: the session's files.
        id: names it.
        label: what its maker calls it.
        call_id: the tool call that a rule wants it before; such ones do not count as too many.

    Raises:
        ServiceError: as `begin`; ServiceQuotaExceededException, the session is too large, or the
            disk is full.
    """
    fresh = await asyncio.to_thread(begin, where.archives, id, label, call_id)
    if isinstance(fresh, Snapshot):
        return fresh
    try:
        packed = await where.pack(fresh)
        return await asyncio.to_thread(complete, where.archives, id, label, call_id, packed)
    except OSError as error:
        raise ServiceError(
            AwsError.QUOTA, f"The snapshot could not be written: {error.strerror}."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def listed(volume: Path) -> list[Snapshot]:
    """The snapshots of a session, oldest first."""
    directory = beside(volume)
    found: list[Snapshot] = []
    if directory.exists():
        for path in directory.glob("snap-*.json"):
            # Another host may remove it while this looks.
            with contextlib.suppress(FileNotFoundError):
                values: dict[str, Any] = json.loads(path.read_text())
                found.append(Snapshot(**values))
    return sorted(found, key=lambda each: (each.created_at, each.id))


def remove(volume: Path, id: str) -> None:
    """Remove a snapshot.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    directory = beside(volume)
    _find(volume, id)
    (directory / f"{id}.json").unlink(missing_ok=True)
    _archive(directory, id).unlink(missing_ok=True)


def thin_out(volume: Path, keep: int) -> None:
    """Remove the oldest snapshots that rules made, all but `keep`."""
    by_rules = [each for each in listed(volume) if each.call_id is not None]
    for each in by_rules[: max(len(by_rules) - keep, 0)]:
        with contextlib.suppress(ServiceError):
            remove(volume, each.id)


def checked_archive(volume: Path, id: str) -> Path:
    """The archive of a snapshot, which is as it was written.

    Raises:
        ServiceError: ResourceNotFoundException; ValidationException, it is damaged.
    """
    snapshot = _find(volume, id)
    path = _archive(beside(volume), id)
    with path.open("rb") as file:
        if _digest(file) != snapshot.sha256:
            raise invalid("snapshotId", f"{id} is damaged: its checksum is wrong")
    return path


@contextmanager
def unpacked(volume: Path, user: int, archive: Path) -> Generator[Path]:
    """An archive's files in a new volume beside one, for `replace_volume`; else it is removed.

    Raises:
        ServiceError: ServiceQuotaExceededException, the disk is full; ValidationException, the
            archive is damaged.
    """
    try:
        with fresh_volume(volume, user) as fresh:
            with archive.open("rb") as file:
                unpack(file, fresh, user)
            yield fresh
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise invalid("snapshotId", f"{archive.name} is damaged: {error}") from error
    except OSError as error:
        raise ServiceError(
            AwsError.QUOTA, f"The files could not be put back: {error.strerror}."
        ) from error


async def restore(where: SessionVolume, id: str, token: str, replace: Replace) -> None:
    """Put the files of a snapshot in the place of all files of a session.

    Args:
        where: the session's files.
        id: of the snapshot.
        token: names this restore for `was_restored`.
        replace: stops the environment around it.

    Raises:
        ServiceError: as `checked_archive` and `SessionVolume.fill`.
    """
    archive = await asyncio.to_thread(checked_archive, where.archives, id)

    async def replace_and_note(
        prepare: Callable[[], Awaitable[None]], put: Callable[[], Awaitable[None]]
    ) -> None:
        async def put_and_note() -> None:
            await put()
            await asyncio.to_thread(note_restore, where.archives, token)

        await replace(prepare, put_and_note)

    await where.fill(archive, replace_and_note)


def was_restored(volume: Path, token: str) -> bool:
    """Whether the last restore of a session was the one of this token."""
    with contextlib.suppress(FileNotFoundError):
        return (beside(volume) / _LAST_RESTORE).read_text() == token
    return False


def note_restore(volume: Path, token: str) -> None:
    """Remember which restore was the last, for `was_restored`."""
    (beside(volume) / _LAST_RESTORE).write_text(token)


def remove_all(volume: Path) -> None:
    """Remove every snapshot of a session. Idempotent."""
    shutil.rmtree(beside(volume), ignore_errors=True)


def _clear(directory: Path, existing: Container[str]) -> None:
    """Remove what a host left that died while it made or put back a snapshot."""
    for left in directory.glob("snap-*"):
        if left.name.partition(".")[0] not in existing:
            left.unlink(missing_ok=True)


def _find(volume: Path, id: str) -> Snapshot:
    _check_id(id)
    for each in listed(volume):
        if each.id == id:
            return each
    raise ServiceError(AwsError.NOT_FOUND, f"The session has no snapshot {id}.")


def _check_id(id: str) -> None:
    if not SNAPSHOT_ID.fullmatch(id):
        raise invalid("snapshotId", f"must match {SNAPSHOT_ID.pattern}")


def _archive(directory: Path, id: str) -> Path:
    return directory / f"{id}.tar.gz"


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while data := file.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()
