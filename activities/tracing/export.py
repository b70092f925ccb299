"""OpenTelemetry's SDK, as this process uses it: our ids for invocations, OTLP over HTTP out.

The provider is our own and not OpenTelemetry's global one, so that spans of the libraries that we
use do not mix with those of agents.
"""

import asyncio
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind

#: What `service.name` is where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do not say.
SERVICE = "everloop"

#: Seconds that a process which ends waits for its last spans; a collector that does not answer
#: must not hold it up.
FLUSH_S = 3.0

_given: ContextVar[tuple[int, int] | None] = ContextVar("given", default=None)


class GivenIds(RandomIdGenerator):
    """Random ids, but where a span's ids are given."""

    def generate_trace_id(self) -> int:
        """128 bits."""
        ids = _given.get()
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        """64 bits."""
        ids = _given.get()
        return super().generate_span_id() if ids is None else ids[1]


class Exporter:
    """Makes spans, and sends those that end.

    Attributes:
        with_content: whether spans hold what was said.
    """

    def __init__(self, *, with_content: bool = False) -> None:
        """Read the SDK's own variables and start its sending thread.

        Args:
            with_content: whether spans hold what was said.
        """
        self.with_content = with_content
        resource = Resource.create({"service.name": SERVICE})
        self._provider = TracerProvider(
            # What the environment says about the service comes before what we say.
            resource=resource.merge(OTELResourceDetector().detect()),
            id_generator=GivenIds(),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("everloop")

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str | int | float],
        *,
        parent: Context,
        ids: tuple[int, int] | None = None,
        start_ns: int | None = None,
    ) -> Span:
        """Start a span, which is sent once it ends.

        Args:
            name: of the span.
            kind: of the span.
            attributes: that samplers may read.
            parent: holds the parent, or none.
            ids: trace and span id; the trace id counts where there is no parent.
            start_ns: nanoseconds since 1970; now when omitted.
        """
        with _using(ids):
            return self._tracer.start_span(
                name, context=parent, kind=kind, attributes=attributes, start_time=start_ns
            )

    async def close(self) -> None:
        """Send what has ended, for `FLUSH_S` at most."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, FLUSH_S)


@contextmanager
def _using(ids: tuple[int, int] | None) -> Generator[None]:
    token = _given.set(ids)
    try:
        yield
    finally:
        _given.reset(token)
