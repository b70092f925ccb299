"""Traces of what agents do, by OpenTelemetry's conventions for generative AI.

`setup` reads the standard `OTEL_*` variables and loads `export`, the one file that imports
OpenTelemetry's SDK, only where they ask for traces. `spans` makes the spans, `attributes` says what
they hold, `content` writes messages where an operator asked for them.
"""

from activities.tracing.setup import open_exporter
from activities.tracing.spans import ChatSpan, Traces

__all__ = ["ChatSpan", "Traces", "open_exporter"]
