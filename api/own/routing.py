"""From a path under `/everloop/v1/` to its handler, and the handler's result as JSON."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from api.context import Context
from api.errors import unknown_operation
from api.own import usage
from api.request import WireRequest
from api.serialise import Answer

PREFIX = "/everloop/v1/"

OwnHandler = Callable[[Context, Mapping[str, str], Mapping[str, str]], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class OwnRoute:
    """A path and who answers it.

    Attributes:
        name: what the access log calls it.
        method: the HTTP method.
        path: the path after the prefix; `{name}` stands for one segment.
        handler: given the segments by name and the query, makes the answer's JSON.
    """

    name: str
    method: str
    path: str
    handler: OwnHandler


_ROUTES = (
    OwnRoute("HarnessUsage", "GET", "harnesses/{harnessId}/usage", usage.harness_usage),
    OwnRoute(
        "SessionUsage",
        "GET",
        "harnesses/{harnessId}/sessions/{runtimeSessionId}/usage",
        usage.session_usage,
    ),
    OwnRoute(
        "InvocationUsage",
        "GET",
        "harnesses/{harnessId}/sessions/{runtimeSessionId}/invocations/{invocationId}/usage",
        usage.invocation_usage,
    ),
)


def is_own(raw_path: str) -> bool:
    """Whether a path is ours and not AWS's."""
    return raw_path.startswith(PREFIX)


async def answer_own(context: Context, wire: WireRequest) -> tuple[str, Answer]:
    """Answer a request to one of our own paths.

    Returns:
        The route's name for the log, and the answer.

    Raises:
        ServiceError: as the handler says.
    """
    segments = wire.raw_path.removeprefix(PREFIX).split("/")
    for route in _ROUTES:
        labels = _labels(route.path.split("/"), segments)
        if labels is not None and route.method == wire.method:
            result = await route.handler(context, labels, dict(wire.query))
            body = json.dumps(result, default=_plain).encode()
            return route.name, Answer(200, {"Content-Type": "application/json"}, body)
    return "-", unknown_operation(wire.method, wire.raw_path[:200])


def _labels(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    labels: dict[str, str] = {}
    for expected, given in zip(template, segments, strict=True):
        if expected.startswith("{"):
            labels[expected[1:-1]] = unquote(given)
        elif expected != given:
            return None
    return labels


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"not JSON: {type(value).__name__}")
