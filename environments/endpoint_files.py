"""A session's files, as a sandbox host's endpoint serves them.

`GET /files` lists a directory as JSON or gives a file's bytes, by range when asked; with `upload`
it says how far an upload has come. `PUT` writes a file, or a part of an upload at an offset. `POST`
finishes an upload or makes a directory. `DELETE` removes.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from contracts.errors import EnvironmentUnavailable, invalid
from environments import session_files
from environments.beneath import Beneath
from environments.endpoint_calls import session_of, text, whole
from environments.host import SandboxHost
from environments.session_files import CHUNK, FileEntry, Listing, OpenFile
from store import Store

#: One part of an upload, or a file that is written in one go.
PART_BYTES = 6 * 1024**2
#: Reads, writes and checksums at once, each in a thread.
WORKERS_MAX = 8

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")

_T = TypeVar("_T")


class FileRoutes:
    """Reads and writes the volumes of a host."""

    def __init__(self, store: Store, host: SandboxHost) -> None:
        """Serve the volumes of a host."""
        self._store = store
        self._host = host
        self._workers = asyncio.Semaphore(WORKERS_MAX)

    async def read(self, request: Request) -> Response:
        """A listing, a file's bytes, or how far an upload has come."""
        where = await self._where(request)
        upload_id = request.query_params.get("upload")
        if upload_id is not None:
            there = await self._work(lambda: session_files.uploaded(where, upload_id))
            return JSONResponse({"uploadId": upload_id, "offset": there})
        path = text(request, "path")
        start_after = request.query_params.get("start_after", "")
        found = await self._work(lambda: session_files.look(where, path, start_after))
        if isinstance(found, Listing):
            return JSONResponse(_listing(path, found))
        try:
            return self._content(found, request)
        except BaseException:
            os.close(found.fd)
            raise

    async def write(self, request: Request) -> Response:
        """A whole file, or a part of an upload."""
        where = await self._where(request)
        data = await _body(request)
        upload_id = request.query_params.get("upload")
        if upload_id is not None:
            offset = whole(request, "offset")
            there = await self._work(
                lambda: session_files.write_part(where, upload_id, offset, data)
            )
            return JSONResponse({"uploadId": upload_id, "offset": there})
        path, sha256 = text(request, "path"), request.query_params.get("sha256")
        written = await self._work(lambda: session_files.write(where, path, data, sha256=sha256))
        return JSONResponse({"path": path, "file": _shown(written)})

    async def change(self, request: Request) -> Response:
        """Finish an upload, or make a directory."""
        where = await self._where(request)
        path = text(request, "path")
        if request.query_params.get("directory") == "1":
            await self._work(lambda: session_files.make_directory(where, path))
            return JSONResponse({"path": path})
        upload_id, size = text(request, "upload"), whole(request, "size")
        sha256 = request.query_params.get("sha256")
        written = await self._work(
            lambda: session_files.finish(where, path, upload_id, size=size, sha256=sha256)
        )
        return JSONResponse({"path": path, "file": _shown(written)})

    async def delete(self, request: Request) -> Response:
        """Remove a file or directory."""
        where = await self._where(request)
        path, recursive = text(request, "path"), request.query_params.get("recursive") == "1"
        await self._work(lambda: session_files.remove(where, path, recursive=recursive))
        return JSONResponse({})

    async def _where(self, request: Request) -> Beneath:
        session = await session_of(request, self._store, self._host)
        # Not in a thread: two that make a volume at once would give it two owners.
        found = self._host.volume(session)
        if found is None:
            raise EnvironmentUnavailable(
                "files of this kind of environment are reached by commands only"
            )
        volume, user = found
        return Beneath(volume, user, text(request, "mount"))

    async def _work(self, work: Callable[[], _T]) -> _T:
        async with self._workers:
            return await asyncio.to_thread(work)

    def _content(self, file: OpenFile, request: Request) -> Response:
        """A file's bytes, all or those of a range; the descriptor goes with the answer."""
        start, end = _range(request, file)
        headers = {
            "ETag": file.etag,
            "Last-Modified": file.modified_at.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "Content-Length": str(end - start),
            "Accept-Ranges": "bytes",
        }
        status = 200
        if end - start != file.size:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        content = self._pieces(file.fd, start, end)
        return StreamingResponse(content, status, headers, media_type="application/octet-stream")

    async def _pieces(self, fd: int, start: int, end: int) -> AsyncGenerator[bytes]:
        try:
            while start < end:
                count = min(CHUNK, end - start)
                offset = start
                data = await self._work(lambda: os.pread(fd, count, offset))  # noqa: B023
                if not data:
                    raise OSError("the file has become shorter while it was read")
                start += len(data)
                yield data
        finally:
            os.close(fd)


def _range(request: Request, file: OpenFile) -> tuple[int, int]:
    """First byte and the one behind the last that are asked for."""
    asked = request.headers.get("range")
    expected = request.headers.get("if-match")
    if expected is not None and expected != file.etag:
        raise invalid("If-Match", "the file has changed since")
    if asked is None:
        return 0, file.size
    match = _RANGE.fullmatch(asked)
    if match is None:
        raise invalid("Range", "must be bytes=FIRST-LAST or bytes=FIRST-")
    start = int(match[1])
    end = min(file.size, int(match[2]) + 1) if match[2] else file.size
    if start > file.size or end < start:
        raise invalid("Range", f"the file has {file.size} bytes")
    return start, end


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > PART_BYTES:
            raise invalid("body", f"must have at most {PART_BYTES} bytes; send the file in parts")
    return bytes(data)


def _listing(path: str, found: Listing) -> dict[str, Any]:
    entries = [_shown(each) for each in found.entries]
    shown: dict[str, Any] = {"path": path, "entries": entries}
    if found.more:
        shown["nextStartAfter"] = entries[-1]["name"]
    return shown


def _shown(entry: FileEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "type": entry.type,
        "size": entry.size,
        "modifiedAt": entry.modified_at.isoformat(),
        "executable": entry.executable,
    }
