"""Which operations exist: both service models as botocore ships them, and the routing table.

Routes are matched on the raw path, because labels may hold percent-encoded ARNs with slashes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.loaders import Loader

from api.shapes import Shape, ShapeTable

DATA = "bedrock-agentcore"
CONTROL = "bedrock-agentcore-control"


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a service.

    Attributes:
        service: `bedrock-agentcore` or `bedrock-agentcore-control`.
        name: as `CreateHarness`.
        method: its HTTP method.
        segments: its path between slashes; `{name}` is a label, `{name+}` a greedy one.
        constants: query parameters that its path fixes.
        status: the HTTP status of a success.
        input: the shape of its parameters; None when it has none.
        output: the shape of its answer; None when it has none.
        errors: its modelled errors by name, those of the whole service included.
    """

    service: str
    name: str
    method: str
    segments: tuple[str, ...]
    constants: tuple[tuple[str, str], ...]
    status: int
    input: Shape | None
    output: Shape | None
    errors: dict[str, Shape]


@dataclass(frozen=True)
class Route:
    """An operation found for a request, and the decoded labels of its path."""

    operation: Operation
    labels: dict[str, str]


class WireModel:
    """Every operation of both services, by name and by route."""

    def __init__(self, operations: tuple[Operation, ...]) -> None:
        """Index the operations."""
        self.operations = {(each.service, each.name): each for each in operations}
        self._routes: dict[tuple[str, str], list[Operation]] = {}
        for operation in sorted(operations, key=_specific_first):
            first = operation.segments[0]
            self._routes.setdefault((operation.method, first), []).append(operation)

    def route(self, method: str, raw_path: str, query: list[tuple[str, str]]) -> Route | None:
        """The operation that a request names.

        Args:
            method: the HTTP method.
            raw_path: the path as it was sent, still percent-encoded, without the query.
            query: the decoded query parameters.

        Returns:
            The route, or None when no operation has this method and path.
        """
        segments = raw_path.removeprefix("/").split("/")
        for operation in self._routes.get((method, segments[0]), ()):
            labels = _labels(operation.segments, segments)
            if labels is not None and all(pair in query for pair in operation.constants):
                return Route(operation, labels)
        return None


@cache
def wire_model() -> WireModel:
    """Both service models, loaded once in a process."""
    return WireModel((*_load(DATA), *_load(CONTROL)))


def _load(service: str) -> list[Operation]:
    loader = cast("Any", Loader())
    raw: dict[str, Any] = loader.load_service_model(service, "service-2")
    shapes = ShapeTable(raw["shapes"])
    common = {
        name: shapes.get(name) for name, shape in raw["shapes"].items() if shape.get("exception")
    }
    return [_operation(service, each, shapes, common) for each in raw["operations"].values()]


def _operation(
    service: str, raw: dict[str, Any], shapes: ShapeTable, common: dict[str, Shape]
) -> Operation:
    uri = urlsplit(str(raw["http"]["requestUri"]))
    return Operation(
        service=service,
        name=raw["name"],
        method=raw["http"]["method"],
        segments=tuple(uri.path.removeprefix("/").split("/")),
        constants=tuple(parse_qsl(uri.query, keep_blank_values=True)),
        status=raw["http"].get("responseCode", 200),
        input=shapes.get(raw["input"]["shape"]) if "input" in raw else None,
        output=shapes.get(raw["output"]["shape"]) if "output" in raw else None,
        errors=common
        | {each["shape"]: shapes.get(each["shape"]) for each in raw.get("errors", ())},
    )


def _specific_first(operation: Operation) -> tuple[bool, int, int]:
    labels = sum(_is_label(segment) for segment in operation.segments)
    greedy = any(segment.endswith("+}") for segment in operation.segments)
    return greedy, labels, -len(operation.constants)


def _is_label(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")


def _labels(template: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    """The labels of a path, decoded; None when it does not fit. An empty label never fits."""
    labels: dict[str, str] = {}
    if len(segments) < len(template) and template[-1] == "":
        template = template[:-1]
    for position, expected in enumerate(template):
        if not _is_label(expected):
            if position >= len(segments) or segments[position] != expected:
                return None
            continue
        if expected.endswith("+}"):
            after = len(template) - position - 1
            taken = segments[position : len(segments) - after]
            rest = _labels(template[position + 1 :], segments[position + len(taken) :])
            if rest is None or not any(taken):
                return None
            return labels | {expected[1:-2]: unquote("/".join(taken))} | rest
        if position >= len(segments) or not segments[position]:
            return None
        labels[expected[1:-1]] = unquote(segments[position])
    return labels if len(segments) == len(template) else None
