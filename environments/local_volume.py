"""A session's files in a directory of this machine."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from contracts.errors import EnvironmentUnavailable
from environments import agentd_scan, snapshots
from environments import agentd_session_files as session_files
from environments.agentd_archive import Packed, pack
from environments.agentd_beneath import Beneath, VolumeError
from environments.agentd_scan import Files, Signature
from environments.agentd_session_files import CHUNK, FileEntry, Listing
from environments.provider import DistantVolumes, EnvironmentProvider, LocalVolumes
from environments.session_volume import Content, Replace, SessionVolume, service_error
from environments.volumes import is_readable, replace_volume

#: Reads, writes and checksums at once, each in a thread.
WORKERS_MAX = 8

_T = TypeVar("_T")


class LocalVolume:
    """See `session_volume.SessionVolume`."""

    def __init__(
        self, volume: Path, user: int, mount: str, workers: asyncio.Semaphore | None = None
    ) -> None:
        """Open nothing yet.

        Args:
            volume: the directory.
            user: who owns what is in it.
            mount: where commands see it.
            workers: bounds what is done at once, with other sessions'.
        """
        self.archives = volume
        self._user = user
        self._where = Beneath(volume, user, mount)
        self._workers = workers or asyncio.Semaphore(WORKERS_MAX)

    @asynccontextmanager
    async def look(self, path: str, start_after: str) -> AsyncGenerator[Listing | Content]:
        """See `SessionVolume.look`."""
        found = await self._work(lambda: session_files.look(self._where, path, start_after))
        if isinstance(found, Listing):
            yield found
            return
        fd = found.fd

        async def pieces(start: int, end: int) -> AsyncGenerator[bytes]:
            while start < end:
                count, offset = min(CHUNK, end - start), start
                data = await self._work(lambda: os.pread(fd, count, offset))  # noqa: B023
                if not data:
                    raise OSError("the file has become shorter while it was read")
                start += len(data)
                yield data

        try:
            yield Content(found.size, found.etag, found.modified_at, pieces)
        finally:
            os.close(fd)

    async def write(self, path: str, data: bytes, sha256: str | None) -> FileEntry:
        """See `SessionVolume.write`."""
        return await self._work(lambda: session_files.write(self._where, path, data, sha256=sha256))

    async def write_part(self, upload_id: str, offset: int, data: bytes) -> int:
        """See `SessionVolume.write_part`."""
        return await self._work(
            lambda: session_files.write_part(self._where, upload_id, offset, data)
        )

    async def uploaded(self, upload_id: str) -> int:
        """See `SessionVolume.uploaded`."""
        return await self._work(lambda: session_files.uploaded(self._where, upload_id))

    async def finish(self, path: str, upload_id: str, size: int, sha256: str | None) -> FileEntry:
        """See `SessionVolume.finish`."""
        return await self._work(
            lambda: session_files.finish(self._where, path, upload_id, size=size, sha256=sha256)
        )

    async def make_directory(self, path: str) -> None:
        """See `SessionVolume.make_directory`."""
        await self._work(lambda: session_files.make_directory(self._where, path))

    async def remove(self, path: str, *, recursive: bool) -> None:
        """See `SessionVolume.remove`."""
        await self._work(lambda: session_files.remove(self._where, path, recursive=recursive))

    async def pack(self, into: Path) -> Packed:
        """See `SessionVolume.pack`."""

        def work() -> Packed:
            with into.open("xb") as file:
                return pack(self.archives, file)

        # Beside the others: it takes as long as many of them together.
        try:
            return await asyncio.to_thread(work)
        except VolumeError as error:
            raise service_error(error) from error

    async def fill(self, archive: Path, replace: Replace) -> None:
        """See `SessionVolume.fill`; the environment runs on while the archive is unpacked."""
        place = snapshots.unpacked(self.archives, self._user, archive)
        fresh = await asyncio.to_thread(place.__enter__)

        async def nothing() -> None:
            pass

        async def put_in_place() -> None:
            await asyncio.to_thread(replace_volume, fresh, self.archives)

        try:
            await replace(nothing, put_in_place)
        finally:
            await asyncio.to_thread(place.__exit__, None, None, None)

    async def scan(self) -> Files:
        """See `SessionVolume.scan`."""
        return await self._work(self._scan)

    def _scan(self) -> Files:
        if not is_readable(self.archives):
            raise FileNotFoundError(f"{self.archives} is not there or not mounted")
        return agentd_scan.scan(self.archives)

    async def checksums(self, files: Sequence[tuple[str, Signature]]) -> list[str | None]:
        """See `SessionVolume.checksums`."""
        return await self._work(lambda: agentd_scan.checksums(self.archives, files))

    async def _work(self, work: Callable[[], _T]) -> _T:
        async with self._workers:
            try:
                return await asyncio.to_thread(work)
            except VolumeError as error:
                raise service_error(error) from error


def volume_of(
    provider: EnvironmentProvider, session: str, mount: str, workers: asyncio.Semaphore
) -> SessionVolume:
    """A session's files, whether or not its environment runs.

    Raises:
        EnvironmentUnavailable: environments of this kind do not show their files.
    """
    if isinstance(provider, LocalVolumes):
        return LocalVolume(*provider.volume(session), mount, workers)
    if isinstance(provider, DistantVolumes):
        return provider.distant(session, mount)
    raise EnvironmentUnavailable("files of this kind of environment are had by commands only")
