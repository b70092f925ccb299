"""Whether this process traces: OpenTelemetry's own variables decide.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
https://opentelemetry.io/docs/specs/otel/protocol/exporter/. What is not read here (headers,
sampler, batches, resource attributes, time-outs) the SDK reads by itself.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from activities.tracing.export import Exporter

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER = "OTEL_TRACES_EXPORTER"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def open_exporter(env: Mapping[str, str]) -> "Exporter | None":
    """What sends this process's spans over OTLP; None where that is not asked for.

    Args:
        env: the process's environment.

    Raises:
        ValueError: a variable asks for what is not served; the message names it and what is.
        ModuleNotFoundError: traces are asked for and the SDK is not installed.
    """
    if not _asked_for(env):
        return None
    try:
        from activities.tracing.export import Exporter
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "OTEL_* variables ask for traces, for which OpenTelemetry's SDK is missing: install "
            "everloop-server[otel], or set OTEL_SDK_DISABLED=true",
            name=missing.name,
        ) from missing
    return Exporter(with_content=env.get(_CAPTURE, "").lower() == "true")


def _asked_for(env: Mapping[str, str]) -> bool:
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = env.get(_EXPORTER, "").strip()
    if exporter not in ("", "otlp", "none"):
        raise ValueError(f"{_EXPORTER} must be otlp or none, not {exporter!r}")
    if exporter == "none" or not (exporter or any(env.get(name) for name in _ENDPOINTS)):
        return False
    name, protocol = next(
        ((name, env[name]) for name in _PROTOCOLS if env.get(name)), (_PROTOCOLS[0], _PROTOCOL)
    )
    if protocol != _PROTOCOL:
        raise ValueError(f"{name} must be {_PROTOCOL}, not {protocol!r}")
    return True
