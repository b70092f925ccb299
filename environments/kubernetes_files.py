"""A session's files in a volume of the cluster: done in a pod that has it, by `agentd_volume`.

Whatever comes back is from among commands of the session, or from an image of somebody's: it is
bounded and checked, and never more than the session's own.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from contracts.errors import EnvironmentUnavailable, ServiceError
from environments.agentd_archive import CONTENT_BYTES, ENTRIES_MAX, Packed
from environments.agentd_beneath import QUOTA, VolumeError
from environments.agentd_scan import NAMES_MAX, Files, Signature, TooMuch, name_of, path_of
from environments.agentd_session_files import CHUNK, FILE_BYTES, LISTED_MAX, FileEntry, Listing
from environments.agentd_volume import PIECE
from environments.bubblewrap_profile import AGENTD_DIR
from environments.channel import Streams
from environments.kubernetes_api import ClusterApi
from environments.kubernetes_file_pods import FilePods
from environments.session_volume import Content, Replace, service_error

#: Seconds for what moves no more than one part; the checksum of a whole file is among it.
OPERATION_S = 120.0
#: Seconds until the next bytes of what takes longer.
SILENCE_S = 60.0
#: One piece of an archive.
PIECE_BYTES = 4 * 1024**2
#: An archive: what it holds, and what tar adds for each name, compressed not at all.
ARCHIVE_BYTES = CONTENT_BYTES + ENTRIES_MAX * 2048
#: Seconds of one look, which a call waits for: it takes one at most when it runs.
SCAN_S = 10.0
#: What one look finds: as many names as it may meet.
SCAN_BYTES = 16 * 1024**2
#: Of what a pod says why a look was not made.
WHY_CHARACTERS = 200
#: What is written to the disk at a time.
WRITE_BYTES = 1024**2

_COMMAND = (
    "python3",
    "-SsEB",
    "-c",
    f"import sys; sys.path.insert(0, {AGENTD_DIR!r}); "
    "from environments.agentd_volume import main; main()",
)
_Whole = Annotated[int, Field(ge=0, le=2**53)]
_Time = Annotated[float, Field(allow_inf_nan=False)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Entry(_Answer):
    name: str = Field(min_length=1, max_length=255)
    type: Literal["file", "directory", "link", "other"]
    size: _Whole
    modified_at: _Time
    executable: bool


class _Listing(_Answer):
    entries: list[_Entry] = Field(max_length=LISTED_MAX)
    more: bool


class _Content(_Answer):
    size: _Whole
    etag: str = Field(pattern=r'^"[0-9a-f]{32}"$')
    modified_at: _Time


class _Packed(_Answer):
    entries: _Whole
    content_bytes: _Whole
    left_out: _Whole


class _Refusal(_Answer):
    error: Literal[
        "ValidationException", "ResourceNotFoundException", "ServiceQuotaExceededException"
    ]
    field: Literal["path", "offset", "uploadId", "size", "sha256"] | None
    message: str = Field(max_length=8192)


class ClusterVolume:
    """See `session_volume.SessionVolume`."""

    def __init__(
        self, api: ClusterApi, pods: FilePods, *, claim: str, user: int, mount: str, archives: Path
    ) -> None:
        """Open nothing yet.

        Args:
            api: of the cluster.
            pods: finds a pod that has the volume.
            claim: the session's.
            user: who owns what is in it.
            mount: where commands see it.
            archives: where the volume would be on this machine.
        """
        self.archives = archives
        self._api = api
        self._pods = pods
        self._claim = claim
        self._user = user
        self._mount = mount

    @asynccontextmanager
    async def look(self, path: str, start_after: str) -> AsyncGenerator[Listing | Content]:
        """See `SessionVolume.look`."""
        request = {"op": "look", "path": path, "start_after": start_after}
        async with self._opened(request) as streams:
            shape: TypeAdapter[_Listing | _Content] = TypeAdapter(_Listing | _Content)
            found = await _answer(streams, shape, OPERATION_S)
            if isinstance(found, _Listing):
                yield Listing(tuple(_entry(each) for each in found.entries), found.more)
                return

            async def pieces(start: int, end: int) -> AsyncGenerator[bytes]:
                async for data in _part(streams, start, end):
                    yield data

            yield Content(found.size, found.etag, found.modified_at, pieces)

    async def write(self, path: str, data: bytes, sha256: str | None) -> FileEntry:
        """See `SessionVolume.write`."""
        asked = {"op": "write", "path": path, "sha256": sha256}
        return _entry(await self._ask(asked, TypeAdapter(_Entry), data))

    async def write_part(self, upload_id: str, offset: int, data: bytes) -> int:
        """See `SessionVolume.write_part`."""
        asked = {"op": "part", "upload": upload_id, "offset": offset}
        return await self._ask(asked, _OFFSET, data)

    async def uploaded(self, upload_id: str) -> int:
        """See `SessionVolume.uploaded`."""
        return await self._ask({"op": "uploaded", "upload": upload_id}, _OFFSET)

    async def finish(self, path: str, upload_id: str, size: int, sha256: str | None) -> FileEntry:
        """See `SessionVolume.finish`."""
        asked = {"op": "finish", "path": path, "upload": upload_id, "size": size, "sha256": sha256}
        return _entry(await self._ask(asked, TypeAdapter(_Entry)))

    async def make_directory(self, path: str) -> None:
        """See `SessionVolume.make_directory`."""
        await self._ask({"op": "directory", "path": path}, TypeAdapter(None))

    async def remove(self, path: str, *, recursive: bool) -> None:
        """See `SessionVolume.remove`."""
        asked = {"op": "remove", "path": path, "recursive": recursive}
        await self._ask(asked, TypeAdapter(None))

    async def pack(self, into: Path) -> Packed:
        """See `SessionVolume.pack`."""
        async with self._opened({"op": "pack"}) as streams:
            with into.open("xb") as file:
                total, waiting = 0, bytearray()
                while data := await _piece(streams):
                    total += len(data)
                    if total > ARCHIVE_BYTES:
                        raise service_error(VolumeError(QUOTA, "The session is too large."))
                    waiting += data
                    if len(waiting) >= WRITE_BYTES:
                        await asyncio.to_thread(file.write, bytes(waiting))
                        waiting.clear()
                await asyncio.to_thread(file.write, waiting)
            found = await _answer(streams, TypeAdapter(_Packed), OPERATION_S)
        return Packed(found.entries, found.content_bytes, found.left_out)

    async def fill(self, archive: Path, replace: Replace) -> None:
        """See `SessionVolume.fill`; nothing runs while the archive is unpacked."""

        async def unpack() -> None:
            async with self._pods.lock(self._claim):
                # A host that died may have left one.
                await self._pods.end_all(self._claim, but_for_files=True)
            asked = {"op": "unpack", "body": archive.stat().st_size}
            async with self._opened(asked) as streams:
                sending = asyncio.create_task(_send_file(streams, archive))
                try:
                    await _answer(streams, TypeAdapter(None), None)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)

        async def put_in_place() -> None:
            await self._ask({"op": "put_in_place"}, TypeAdapter(None))

        await replace(unpack, put_in_place)

    async def scan(self) -> Files:
        """See `SessionVolume.scan`; only a pod that runs is looked into."""
        data = bytearray()
        try:
            async with (
                asyncio.timeout(SCAN_S),
                self._opened({"op": "scan"}, make=False) as streams,
            ):
                while piece := await _piece(streams):
                    data += piece
                    if len(data) > SCAN_BYTES:
                        raise TooMuch("the names of the session's files are too long")
                await _answer(streams, TypeAdapter(None), OPERATION_S)
        except TimeoutError:
            raise _unreachable(f"a look at them takes more than {SCAN_S:.0f} s") from None
        except ServiceError as error:
            raise TooMuch(error.detail.message[:WHY_CHARACTERS]) from None
        return await asyncio.to_thread(_signatures, bytes(data))

    async def checksums(self, files: Sequence[tuple[str, Signature]]) -> list[str | None]:
        """See `SessionVolume.checksums`."""
        asked = [(name_of(path), signature) for path, signature in files]
        data = json.dumps(asked).encode()
        found = await self._ask({"op": "checksums"}, _DIGESTS, data, make=False)
        if len(found) != len(files):
            raise _unreachable("not as many checksums as files")
        return found

    async def _ask(
        self,
        request: dict[str, Any],
        shape: TypeAdapter[Any],
        body: bytes = b"",
        *,
        make: bool = True,
    ) -> Any:
        opened = self._opened({**request, "body": len(body)}, make=make)
        async with self._pods.operations, opened as streams:
            if body:
                await _send(streams, body)
            return await _answer(streams, shape, OPERATION_S)

    @asynccontextmanager
    async def _opened(
        self, request: dict[str, Any], *, make: bool = True
    ) -> AsyncGenerator[Streams]:
        """A process in a pod that has the request; in a new pod for files, unless not `make`.

        Raises:
            EnvironmentUnavailable: it cannot be had, or broke.
            ServiceError: it refuses.
        """
        async with self._pods.place(self._claim, self._user, make) as (pod, volume):
            try:
                command = (*_COMMAND, volume, self._mount, str(self._user))
                streams = await self._api.exec(pod, command)
                try:
                    await _send(streams, json.dumps({"body": 0, **request}).encode() + b"\n")
                    yield streams
                finally:
                    streams[1].transport.abort()
            except VolumeError as error:
                raise service_error(error) from error
            except (ConnectionError, TimeoutError, EOFError) as error:
                raise _unreachable(type(error).__name__) from error


def _unreachable(why: str) -> EnvironmentUnavailable:
    return EnvironmentUnavailable(f"the session's files cannot be reached now ({why}); try again")


_Number = Annotated[int, Field(ge=-(2**66), le=2**66)]
_SIGNATURES: TypeAdapter[dict[str, tuple[int, int, int, int]]] = TypeAdapter(
    Annotated[
        dict[
            Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")],
            tuple[_Number, _Whole, _Number, _Number],
        ],
        Field(max_length=NAMES_MAX),
    ]
)
_DIGESTS: TypeAdapter[list[str | None]] = TypeAdapter(
    list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None]
)
_OFFSET: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, le=FILE_BYTES, strict=True)])


async def _send(streams: Streams, data: bytes) -> None:
    streams[1].write(data)
    async with asyncio.timeout(OPERATION_S):
        await streams[1].drain()


async def _send_file(streams: Streams, path: Path) -> None:
    with path.open("rb") as file:
        while data := await asyncio.to_thread(file.read, WRITE_BYTES):
            await _send(streams, data)


async def _answer(streams: Streams, shape: TypeAdapter[Any], within_s: float | None) -> Any:
    """What the line that comes says.

    Raises:
        VolumeError: it says that it cannot be done.
        ConnectionError, TimeoutError, EOFError: it does not come, or is not what it must be.
    """
    try:
        async with asyncio.timeout(within_s):
            answer: object = json.loads(await streams[0].readuntil(b"\n"))
        if not isinstance(answer, dict):
            raise ConnectionError("an answer is no object")
        if "ok" in answer:
            return shape.validate_python(answer["ok"])
        refusal = _Refusal.model_validate(answer)
    except (ValidationError, ValueError, RecursionError, asyncio.LimitOverrunError) as error:
        raise ConnectionError(f"an answer is not as it must be: {type(error).__name__}") from None
    raise VolumeError(refusal.error, refusal.message, refusal.field)


async def _piece(streams: Streams) -> bytes:
    async with asyncio.timeout(SILENCE_S):
        (length,) = PIECE.unpack(await streams[0].readexactly(PIECE.size))
        if length > PIECE_BYTES:
            raise ConnectionError("a piece is too long")
        return await streams[0].readexactly(length)


async def _part(streams: Streams, start: int, end: int) -> AsyncGenerator[bytes]:
    await _send(streams, json.dumps({"start": start, "end": end}).encode() + b"\n")
    left = end - start
    while left > 0:
        async with asyncio.timeout(SILENCE_S):
            data = await streams[0].read(min(CHUNK, left))
        if not data:
            raise ConnectionError("the file has become shorter while it was read")
        left -= len(data)
        yield data


def _signatures(data: bytes) -> Files:
    """What a look found, as far as it can be what a look finds.

    Raises:
        EnvironmentUnavailable: it cannot.
    """
    try:
        found = _SIGNATURES.validate_json(data)
        return {path_of(name): signature for name, signature in found.items()}
    except ValueError:
        raise _unreachable("a look at them gave no list of files") from None


def _entry(found: _Entry) -> FileEntry:
    return FileEntry(
        name=found.name,
        type=found.type,
        size=found.size,
        modified_at=found.modified_at,
        executable=found.executable,
    )
