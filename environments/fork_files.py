"""Files that a fork begins with: an archive beside its volume, until something needs them.

A fork's record names the archive, and says once its files are in place. What is cut short before
that is done again: until then nothing can have touched the fork's files.
"""

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from contracts.environment import EnvironmentRecord, EnvironmentState
from contracts.errors import AwsError, EnvironmentUnavailable, ServiceError
from environments import snapshots
from environments.session_volume import SessionVolume
from environments.volumes import beside
from store.environments import Environments

#: In a fork's record: its files are in place.
_BEGUN = "begun"
_GONE = "the files that this fork was to begin with are gone; fork the session again"


async def stage(origin: SessionVolume, target: Path, staged: str, snapshot_id: str | None) -> None:
    """Keep a session's files, or a snapshot of them, beside another session's volume. Idempotent.

    Args:
        origin: the files of the session that is forked.
        target: where the fork's volume is on this machine, or would be.
        staged: names the copy.
        snapshot_id: the snapshot; the files as they are now when None.

    Raises:
        ServiceError: ResourceNotFoundException, there is no such snapshot;
            ServiceQuotaExceededException, there is too much or the disk is full;
            ValidationException, the snapshot is damaged.
        EnvironmentUnavailable: the files cannot be reached.
    """
    place = _staged(target, staged)
    fresh = place.parent / f"copying-{uuid.uuid4().hex}"
    if await asyncio.to_thread(_there, place):
        return
    try:
        if snapshot_id is None:
            await origin.pack(fresh)
            await asyncio.to_thread(_flush, fresh)
        else:
            archive = await asyncio.to_thread(
                snapshots.checked_archive, origin.archives, snapshot_id
            )
            # The snapshot may be removed, and the fork still has it.
            await asyncio.to_thread(os.link, archive, fresh)
        fresh.rename(place)
    except OSError as error:
        raise ServiceError(
            AwsError.QUOTA, f"The files could not be copied: {error.strerror}."
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def drop(target: Path, staged: str) -> None:
    """Remove a copy whose fork was refused, or has its files. Idempotent."""
    _staged(target, staged).unlink(missing_ok=True)


class ForkedFiles:
    """Puts the files of forks in place, each once, whoever waits for it."""

    def __init__(self, records: Environments, volume: Callable[[str], SessionVolume]) -> None:
        """Know of none yet.

        Args:
            records: of environments.
            volume: a session's files.
        """
        self._records = records
        self._volume = volume
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def begin(self, record: EnvironmentRecord | None) -> None:
        """See that a fork has the files that it begins with, when it begins with any. Idempotent.

        Whoever does not wait to the end leaves the work to who comes next.

        Raises:
            EnvironmentUnavailable: they are gone, or cannot be put in place; the message says why.
            StaleAttempt: another host has the fork.
        """
        if record is None or record.state is not EnvironmentState.FORKED:
            return
        if _BEGUN in record.reference:
            return
        task = self._under_way.get(record.session)
        if task is None:
            task = asyncio.create_task(self._begin(record))
            self._under_way[record.session] = task
            task.add_done_callback(lambda done: self._ended(record.session, done))
        await asyncio.shield(task)

    async def settle(self, session: str) -> None:
        """Wait until nothing is put in place in a session."""
        task = self._under_way.get(session)
        if task is not None:
            await asyncio.wait([task])

    async def close(self) -> None:
        """Leave what is under way to the next host process."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, session: str, task: asyncio.Task[None]) -> None:
        del self._under_way[session]
        if not task.cancelled():
            task.exception()

    async def _begin(self, record: EnvironmentRecord) -> None:
        where, staged = self._volume(record.session), str(record.reference["staged"])
        archive = _staged(where.archives, staged)
        if not archive.exists():
            raise EnvironmentUnavailable(_GONE)
        try:
            await where.fill(archive, _put)
        except ServiceError as error:
            raise EnvironmentUnavailable(
                f"the files that this fork begins with are not in place: {error.detail.message}"
            ) from error
        begun = replace(record, reference={**record.reference, _BEGUN: 1})
        await self._records.put(begun, expected_generation=record.generation)
        await asyncio.to_thread(drop, where.archives, staged)


async def _put(prepare: Callable[[], Awaitable[None]], put: Callable[[], Awaitable[None]]) -> None:
    """Nothing of a fork runs before it has its files."""
    await prepare()
    await put()


def _there(place: Path) -> bool:
    """Whether a copy is whole; else its directory is made and cleared."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.parent.glob("copying-*"):
        left.unlink(missing_ok=True)
    return place.exists()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _staged(target: Path, staged: str) -> Path:
    return beside(target) / f"fork-{staged}.tar.gz"
