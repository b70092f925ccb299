"""The head of a request to the proxy: read strictly, and written anew for the server.

Only what both sides must read alike is let through: a head that one server reads so and another
otherwise is how requests are smuggled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.egress import HOST_PATTERN

_REQUEST_LINE = re.compile(rb"([A-Z]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([^\x00\r\n]*)")
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[^:\[\]/@]{1,254})(?::([0-9]{1,5}))?")
_URL = re.compile(r"http://([^/?#]{1,300})([/?][^#]*)?(?:#.*)?")
#: Meant for the proxy, or for one connection.
_HOP = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    }
)
#: Of lines; more are no request of any client.
MAX_HEADERS = 200


class BadHead(Exception):
    """The request cannot be read; the text says why, and holds nothing of it."""


@dataclass(frozen=True)
class Head:
    """A request to the proxy.

    Attributes:
        method: `CONNECT`, or the method of a request in absolute form.
        host: in lower case; an IPv6 address without brackets.
        port: as given, else 80.
        path: with its query; empty for CONNECT.
        headers: name and value in their order.
        body_bytes: how long the body is; None for a body in chunks.
    """

    method: str
    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...]
    body_bytes: int | None


def read_head(data: bytes) -> Head:
    """Read a head that ends with an empty line.

    Raises:
        BadHead: it is not what a client sends to a proxy.
    """
    first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadHead("the request line is not what a proxy takes")
    headers = _headers(lines)
    method, target = line[1].decode(), line[2].decode()
    if method == "CONNECT":
        host, port = _authority(target, None)
        return Head(method, host, port, "", headers, 0)
    url = _URL.fullmatch(target)
    if url is None:
        raise BadHead("this is a proxy: requests must be CONNECT, or have a whole http:// URL")
    host, port = _authority(url[1], 80)
    path = url[2] or "/"
    return Head(
        method,
        host,
        port,
        path if path.startswith("/") else f"/{path}",
        headers,
        _body_bytes(headers),
    )


def write_head(head: Head, added: Sequence[tuple[str, str]] = ()) -> bytes:
    """The head that the server gets.

    Args:
        head: what the client sent.
        added: headers that take the place of the client's of the same name.
    """
    named = _HOP | {name.lower() for name, _ in added}
    for name, value in head.headers:
        if name.lower() == "connection":
            named |= {item.strip().lower() for item in value.split(",")}
    # What frames the body stays, even where the client calls it its own connection's.
    named -= {"content-length", "transfer-encoding"}
    host = f"[{head.host}]" if ":" in head.host else head.host
    lines = [f"{head.method} {head.path} HTTP/1.1"]
    lines.append(f"Host: {host}" if head.port in (80, 443) else f"Host: {host}:{head.port}")
    lines += [f"{name}: {value}" for name, value in head.headers if name.lower() not in named]
    lines += [f"{name}: {value}" for name, value in added]
    lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _headers(lines: Sequence[bytes]) -> tuple[tuple[str, str], ...]:
    if len(lines) > MAX_HEADERS:
        raise BadHead(f"more than {MAX_HEADERS} headers")
    found: list[tuple[str, str]] = []
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise BadHead("a header is not of the form `Name: value`")
        found.append((header[1].decode("ascii"), header[2].decode("latin-1").strip(" \t")))
    return tuple(found)


def _authority(text: str, default: int | None) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found[2] is None and default is None):
        raise BadHead("the host must be of the form name:port")
    port = int(found[2]) if found[2] is not None else default or 0
    host = found[1].strip("[]").lower().removesuffix(".")
    if not 1 <= port <= 65535 or not (":" in host or HOST_PATTERN.fullmatch(host)):
        raise BadHead("the host or the port is not one")
    return host, port


def _body_bytes(headers: tuple[tuple[str, str], ...]) -> int | None:
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    encodings = [value for name, value in headers if name.lower() == "transfer-encoding"]
    if len(lengths) + len(encodings) > 1:
        raise BadHead("the length of the body is given twice")
    if encodings:
        if encodings[0].lower() != "chunked":
            raise BadHead("the only transfer encoding is chunked")
        return None
    if lengths and not re.fullmatch(r"[0-9]{1,15}", lengths[0]):
        raise BadHead("content-length is not a number")
    return int(lengths[0]) if lengths else 0
