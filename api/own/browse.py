"""A page that shows a session's files to a person: one directory, with links to the next."""

from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response

from api.context import Context
from api.own.files import read_files
from api.own.pages import page
from api.own.request import OwnRequest


async def browse_files(context: Context, request: OwnRequest) -> Response:
    """The page of a directory; the file itself when the path names one.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    found = await read_files(context, request)
    return found if isinstance(found, Response) else _page(request, dict(found))


def _page(request: OwnRequest, listing: dict[str, Any]) -> Response:
    path = request.query.get("path", "").strip("/")
    path = "" if path == "." else path
    after = listing.get("nextStartAfter")
    return page(
        "files",
        session=request.labels["runtimeSessionId"],
        path=path,
        up=_link(path.rpartition("/")[0]) if path else None,
        rows=[_row(path, each) for each in listing["entries"]],
        more=_link(path, after) if after is not None else None,
    )


def _row(path: str, entry: dict[str, Any]) -> dict[str, str | None]:
    name, kind = entry["name"], entry["type"]
    opens = kind in ("directory", "file", "link")
    return {
        "name": f"{name}/" if kind == "directory" else name,
        "link": _link(f"{path}/{name}".strip("/")) if opens else None,
        "size": f"{entry['size']:,}" if kind == "file" else kind,
        "changed": entry["modifiedAt"][:19],
    }


def _link(path: str, start_after: str = "") -> str:
    query = {"path": path or "."} | ({"startAfter": start_after} if start_after else {})
    return f"browse?{urlencode(query, quote_via=quote)}"
