"""A page that shows a session's files to a person: one directory, with links to the next.

Names are whatever a command made them: everything is escaped, and the page may load and run
nothing. A browser cannot sign requests, so that it is for `everloop dev`.
"""

import base64
import hashlib
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import HTMLResponse, Response

from api.context import Context
from api.own.files import read_files
from api.own.request import OwnRequest

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.25rem .75rem;text-align:left;"
    "border-bottom:1px solid #ddd}td:nth-child(n+2){white-space:nowrap;color:#555}"
    "td:nth-child(2){text-align:right}a{text-decoration:none}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}"
    "td,th{border-color:#333}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def browse_files(context: Context, request: OwnRequest) -> Response:
    """The page of a directory; the file itself when the path names one.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    found = await read_files(context, request)
    if isinstance(found, Response):
        return found
    return HTMLResponse(_page(request, dict(found)), headers=_HEADERS)


def _page(request: OwnRequest, listing: dict[str, Any]) -> str:
    session = request.labels["runtimeSessionId"]
    path = request.query.get("path", "").strip("/")
    path = "" if path == "." else path
    rows = [_row(path, each) for each in listing["entries"]]
    if path:
        rows.insert(0, f"<tr><td><a href='{_link(path.rpartition('/')[0])}'>..</a><td><td></tr>")
    more = ""
    if "nextStartAfter" in listing:
        more = f"<p><a href='{_link(path, listing['nextStartAfter'])}'>more</a></p>"
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<title>Files of {escape(session)}</title><style>{_STYLE}</style>"
        f"<h1>/{escape(path)}</h1><p>Session {escape(session)}</p>"
        "<table><tr><th>Name<th>Bytes<th>Changed</tr>"
        f"{''.join(rows)}</table>{more}</html>"
    )


def _row(path: str, entry: dict[str, Any]) -> str:
    name = entry["name"]
    shown = escape(name) + ("/" if entry["type"] == "directory" else "")
    if entry["type"] in ("directory", "file", "link"):
        shown = f"<a href='{_link(f'{path}/{name}'.strip('/'))}'>{shown}</a>"
    size = f"{entry['size']:,}" if entry["type"] == "file" else escape(entry["type"])
    return f"<tr><td>{shown}<td>{size}<td>{escape(entry['modifiedAt'][:19])}</tr>"


def _link(path: str, start_after: str = "") -> str:
    query = {"path": path or "."} | ({"startAfter": start_after} if start_after else {})
    return escape(f"browse?{urlencode(query, quote_via=quote)}", quote=True)
