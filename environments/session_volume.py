"""A session's files in the hands of a host, wherever their volume is."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import AwsError, ServiceError, invalid
from environments.agentd_archive import Packed
from environments.agentd_beneath import VolumeError
from environments.agentd_scan import Files, Signature
from environments.agentd_session_files import FileEntry, Listing

#: Has a session's environment stopped, does the first, says in its record that its files were put
#: back, and does the second.
Replace = Callable[[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True)
class Content:
    """A file that is open to be read.

    Attributes:
        size: bytes.
        etag: changes whenever the file does, as far as its file system notes it.
        modified_at: seconds since 1970.
        pieces: gives the bytes from a first to the one before a last; ends with an OSError when
            they do not come.
    """

    size: int
    etag: str
    modified_at: float
    pieces: Callable[[int, int], AsyncGenerator[bytes]]


class SessionVolume(Protocol):
    """What can be done with the files of one session.

    Every method raises ServiceError (ValidationException, ResourceNotFoundException,
    ServiceQuotaExceededException) for what the caller could have avoided, and
    EnvironmentUnavailable where the volume cannot be reached.
    """

    @property
    def archives(self) -> Path:
        """Where the volume is on this machine, or would be: its snapshots are beside it."""
        ...

    def look(self, path: str, start_after: str) -> AbstractAsyncContextManager[Listing | Content]:
        """A directory behind a name, or a file."""
        ...

    async def write(self, path: str, data: bytes, sha256: str | None) -> FileEntry:
        """Write a whole file, missing directories with it."""
        ...

    async def write_part(self, upload_id: str, offset: int, data: bytes) -> int:
        """Add a part to an upload; how many bytes of it are there."""
        ...

    async def uploaded(self, upload_id: str) -> int:
        """How many bytes of an upload are there."""
        ...

    async def finish(self, path: str, upload_id: str, size: int, sha256: str | None) -> FileEntry:
        """Put an upload in its place, if it is whole."""
        ...

    async def make_directory(self, path: str) -> None:
        """Make a directory, and those above it."""
        ...

    async def remove(self, path: str, *, recursive: bool) -> None:
        """Remove a file, a link or a directory."""
        ...

    async def pack(self, into: Path) -> Packed:
        """Write an archive of all files to a new file."""
        ...

    async def fill(self, archive: Path, replace: Replace) -> None:
        """Put the files of an archive that `pack` wrote in the place of all files."""
        ...

    async def scan(self) -> Files:
        """See `agentd_scan.scan`; a volume that is not at hand now is not made so.

        Raises:
            TooMuch: it has too many files, or looking takes too long.
            OSError: it cannot be read.
        """
        ...

    async def checksums(self, files: Sequence[tuple[str, Signature]]) -> list[str | None]:
        """See `agentd_scan.checksums`."""
        ...


def service_error(error: VolumeError) -> ServiceError:
    """What is told of a volume's refusal on the wire."""
    if error.field is not None:
        return invalid(error.field, error.message)
    return ServiceError(AwsError(error.error), error.message)
