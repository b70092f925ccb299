"""A session's files, as a sandbox host's endpoint serves them.

`GET /files` lists a directory as JSON or gives a file's bytes, by range when asked; with `upload`
it says how far an upload has come. `PUT` writes a file, or a part of an upload at an offset. `POST`
finishes an upload or makes a directory. `DELETE` removes.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from contracts.errors import invalid
from environments.agentd_session_files import FileEntry, Listing
from environments.agentd_volume import BODY_BYTES
from environments.endpoint_calls import session_of, text, whole
from environments.file_times import moment
from environments.host import SandboxHost
from environments.session_volume import Content, SessionVolume
from store import Store

#: One part of an upload, or a file that is written in one go.
PART_BYTES = BODY_BYTES

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


class FileRoutes:
    """Reads and writes the volumes of a host."""

    def __init__(self, store: Store, host: SandboxHost) -> None:
        """Serve the volumes of a host."""
        self._store = store
        self._host = host

    async def read(self, request: Request) -> Response:
        """A listing, a file's bytes, or how far an upload has come."""
        where = await self._where(request)
        upload_id = request.query_params.get("upload")
        if upload_id is not None:
            there = await where.uploaded(upload_id)
            return JSONResponse({"uploadId": upload_id, "offset": there})
        path = text(request, "path")
        start_after = request.query_params.get("start_after", "")
        async with AsyncExitStack() as opened:
            found = await opened.enter_async_context(where.look(path, start_after))
            if isinstance(found, Listing):
                return JSONResponse(_listing(path, found))
            return _content(found, request, opened.pop_all())

    async def write(self, request: Request) -> Response:
        """A whole file, or a part of an upload."""
        where = await self._where(request)
        data = await _body(request)
        upload_id = request.query_params.get("upload")
        if upload_id is not None:
            offset = whole(request, "offset")
            there = await where.write_part(upload_id, offset, data)
            return JSONResponse({"uploadId": upload_id, "offset": there})
        path, sha256 = text(request, "path"), request.query_params.get("sha256")
        written = await where.write(path, data, sha256)
        return JSONResponse({"path": path, "file": _shown(written)})

    async def change(self, request: Request) -> Response:
        """Finish an upload, or make a directory."""
        where = await self._where(request)
        path = text(request, "path")
        if request.query_params.get("directory") == "1":
            await where.make_directory(path)
            return JSONResponse({"path": path})
        upload_id, size = text(request, "upload"), whole(request, "size")
        sha256 = request.query_params.get("sha256")
        written = await where.finish(path, upload_id, size, sha256)
        return JSONResponse({"path": path, "file": _shown(written)})

    async def delete(self, request: Request) -> Response:
        """Remove a file or directory."""
        where = await self._where(request)
        path, recursive = text(request, "path"), request.query_params.get("recursive") == "1"
        await where.remove(path, recursive=recursive)
        return JSONResponse({})

    async def _where(self, request: Request) -> SessionVolume:
        session = await session_of(request, self._store, self._host)
        # Not in a thread: two that make a volume at once would give it two owners.
        return self._host.volume(session, text(request, "mount"))


def _content(file: Content, request: Request, opened: AsyncExitStack) -> Response:
    """A file's bytes, all or those of a range; the file is closed when they are sent."""
    start, end = _range(request, file)
    headers = {
        "ETag": file.etag,
        "Last-Modified": moment(file.modified_at).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Content-Length": str(end - start),
        "Accept-Ranges": "bytes",
    }
    status = 200
    if end - start != file.size:
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"

    async def pieces() -> AsyncGenerator[bytes]:
        async with opened:
            async for data in file.pieces(start, end):
                yield data

    return StreamingResponse(pieces(), status, headers, media_type="application/octet-stream")


def _range(request: Request, file: Content) -> tuple[int, int]:
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
        "modifiedAt": moment(entry.modified_at).isoformat(),
        "executable": entry.executable,
    }
