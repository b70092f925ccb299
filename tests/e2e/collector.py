"""A collector of traces: OTLP over HTTP, in protobuf, as any vendor's takes it."""

import threading
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.e2e.stack import wait_until
from tests.e2e.threaded import ThreadedServer

Value = str | int | float | bool | list[str]


@dataclass(frozen=True)
class Received:
    """A span that came; ids in hexadecimal, times in nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    tracestate: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Value]
    service: str


class Collector(ThreadedServer):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Received] = []
        self.bodies: list[bytes] = []
        #: Where it listens, once it is started.
        self.url = ""
        super().__init__(Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])]))

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        spans = _spans(ExportTraceServiceRequest.FromString(body))
        with self._lock:
            self.bodies.append(body)
            self._spans += spans
        answer = ExportTraceServiceResponse().SerializeToString()
        return Response(answer, media_type="application/x-protobuf")

    def spans(self, kind: str, session: str) -> list[Received]:
        """The spans of a session whose name begins with `kind`, in order of their start."""
        with self._lock:
            found = [
                span
                for span in self._spans
                if span.name.split()[0] == kind and span.attributes.get("session.id") == session
            ]
        return sorted(found, key=lambda span: span.start_ns)

    def wait_for(self, kind: str, session: str, count: int = 1) -> list[Received]:
        """Those spans, once there are at least so many."""
        wait_until(lambda: len(self.spans(kind, session)) >= count, what=f"too few spans of {kind}")
        return self.spans(kind, session)


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            tracestate=span.trace_state,
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            attributes={entry.key: _value(entry.value) for entry in span.attributes},
            service=next(
                entry.value.string_value
                for entry in of.resource.attributes
                if entry.key == "service.name"
            ),
        )
        for of in request.resource_spans
        for scope in of.scope_spans
        for span in scope.spans
    ]


def _value(value: AnyValue) -> Value:
    if value.HasField("array_value"):
        return [item.string_value for item in value.array_value.values]
    chosen = value.WhichOneof("value")
    assert chosen is not None
    return getattr(value, chosen)
