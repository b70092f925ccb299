"""A session's files: list, download, upload in one go or in parts, make directories, remove.

What is read here was written by whoever runs commands in the session: it goes to the caller as
bytes to be saved, never as a page.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

from pydantic import Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.context import Context
from api.hosts import HostCall
from api.own.request import OwnRequest, OwnResult
from api.session_calls import begin_session, fix_config, known_session
from contracts.base import WireValue
from contracts.errors import invalid
from contracts.records import DEFAULT_ENDPOINT

#: What of a host's answer goes on to the caller.
_PASSED_HEADERS = ("etag", "last-modified", "content-length", "content-range", "accept-ranges")
#: A browser that is led to a file saves it; it never runs it.
INERT = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
}


class Change(WireValue):
    """What a POST asks for: an upload's end, or a directory.

    Attributes:
        upload_id: the upload that is to be put in its place.
        size: its bytes.
        sha256: of its content, 64 hexadecimal digits.
        directory: true makes a directory instead.
    """

    upload_id: str | None = None
    size: int | None = Field(default=None, ge=0)
    sha256: str | None = None
    directory: bool = False


async def read_files(context: Context, request: OwnRequest) -> OwnResult:
    """A directory's entries, a file's bytes, or how far an upload has come.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    query = _query(request, "path", "startAfter", "uploadId", "qualifier")
    session = await known_session(
        context, request.labels["harnessId"], request.labels["runtimeSessionId"]
    )
    params = {"mount": await _mount(context, request), "path": query.get("path", ".")}
    if "startAfter" in query:
        params["start_after"] = query["startAfter"]
    if "uploadId" in query:
        params["upload"] = query["uploadId"]
    headers = {
        name: request.headers[name] for name in ("range", "if-match") if name in request.headers
    }
    return await fetch(context, HostCall(session, "GET", "/files", params, headers))


async def write_file(context: Context, request: OwnRequest) -> OwnResult:
    """A whole file, or with `uploadId` and `offset` a part of one.

    Raises:
        ServiceError: ValidationException, ServiceQuotaExceededException.
    """
    query = _query(request, "path", "uploadId", "offset", "sha256", "qualifier")
    if ("path" in query) == ("uploadId" in query):
        raise invalid("path", "give either path, for a whole file, or uploadId and offset")
    params = {"mount": await _mount(context, request), "path": query.get("path", ".")}
    if "uploadId" in query:
        params |= {"upload": query["uploadId"], "offset": query.get("offset", "")}
    if "sha256" in query:
        params["sha256"] = query["sha256"]
    return await _change(context, request, "PUT", params, request.body)


async def change_files(context: Context, request: OwnRequest) -> OwnResult:
    """Put an upload in its place, or make a directory.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    query = _query(request, "path", "qualifier")
    change = request.read(Change)
    params = {"mount": await _mount(context, request), "path": _path(query)}
    if change.directory:
        if change.upload_id is not None:
            raise invalid("directory", "an upload becomes a file")
        params["directory"] = "1"
    else:
        if change.upload_id is None or change.size is None:
            raise invalid("uploadId", "uploadId and size, or directory, must be given")
        params |= {"upload": change.upload_id, "size": str(change.size)}
        if change.sha256 is not None:
            params["sha256"] = change.sha256
    return await _change(context, request, "POST", params, b"")


async def delete_file(context: Context, request: OwnRequest) -> OwnResult:
    """Remove a file, a link, or with `recursive=true` a directory.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    query = _query(request, "path", "recursive", "qualifier")
    recursive = query.get("recursive", "false")
    if recursive not in ("true", "false"):
        raise invalid("recursive", "must be true or false")
    session = await known_session(
        context, request.labels["harnessId"], request.labels["runtimeSessionId"]
    )
    params = {"mount": await _mount(context, request), "path": _path(query)}
    params["recursive"] = "1" if recursive == "true" else "0"
    call = HostCall(session, "DELETE", "/files", params, {})
    return await context.hosts.ask(context.store, context.settings, call)


async def fetch(context: Context, call: HostCall) -> OwnResult:
    """A host's answer to a GET: JSON as a value, a file's bytes as they come."""
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(
            context.hosts.open(context.store, context.settings, call)
        )
        if answer.headers.get("content-type", "").startswith("application/json"):
            await answer.aread()
            shown: dict[str, Any] = answer.json()
            return shown
        headers = {name: answer.headers[name] for name in _PASSED_HEADERS if name in answer.headers}
        name = quote(str(call.params["path"]).rstrip("/").rpartition("/")[2], safe="")
        headers |= {"Content-Disposition": f"attachment; filename*=UTF-8''{name}", **INERT}
        return _Passed(answer.aiter_raw(), answer.status_code, headers, stack.pop_all())


class _Passed(StreamingResponse):
    """An answer of a host's, passed on; the connection to the host is let go with it."""

    def __init__(
        self, content: Any, status: int, headers: Mapping[str, str], stack: AsyncExitStack
    ) -> None:
        super().__init__(content, status, headers, media_type="application/octet-stream")
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def _change(
    context: Context, request: OwnRequest, method: str, params: dict[str, str], body: bytes
) -> dict[str, Any]:
    """Ask the host for a change in a session, which begins with it if it has to."""
    session = await begin_session(
        context, request.labels["harnessId"], request.labels["runtimeSessionId"]
    )
    call = HostCall(session, method, "/files", params, {}, body)
    return await context.hosts.ask(context.store, context.settings, call)


async def _mount(context: Context, request: OwnRequest) -> str:
    qualifier = request.query.get("qualifier", DEFAULT_ENDPOINT)
    _, run = await fix_config(context, request.labels["harnessId"], qualifier)
    return run.config.environment.session_mount


def _path(query: Mapping[str, str]) -> str:
    if not query.get("path"):
        raise invalid("path", "is required")
    return query["path"]


def _query(request: OwnRequest, *allowed: str) -> Mapping[str, str]:
    for name in request.query:
        if name not in allowed:
            raise invalid(name[:100], f"is no parameter here; there are {', '.join(allowed)}")
    return request.query
