"""HTTP without an SDK: for requests that no SDK would send."""

import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.headers["x-amzn-errortype"]

    @property
    def fields(self) -> list[str]:
        return [each["name"] for each in self.json.get("fieldList", [])]


def call(
    port: int,
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
) -> RawAnswer:
    """Send one request; a body that is not bytes is written as JSON."""
    payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, payload, headers or {})
        answer = connection.getresponse()
        kept = {name.lower(): value for name, value in answer.getheaders()}
        return RawAnswer(answer.status, kept, answer.read())
    finally:
        connection.close()
