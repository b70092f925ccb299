"""A request as the codec sees it: bytes off the wire, before any meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class WireRequest:
    """One HTTP request.

    Attributes:
        method: as `POST`.
        raw_path: the path as it was sent, still percent-encoded, without the query.
        query: the decoded query parameters in their order.
        headers: header values by lower-case name.
        body: the whole body.
        scheme: `http` or `https`, as the client reached us or a trusted proxy of ours.
    """

    method: str
    raw_path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"


def decode_query(raw: bytes) -> list[tuple[str, str]]:
    """The parameters of a raw query string."""
    return parse_qsl(raw.decode("ascii", "replace"), keep_blank_values=True)


def decode_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header values by lower-case name; a repeated header's values are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        text = _text(value)
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
