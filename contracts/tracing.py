"""The trace of an invocation: what its caller sent, and ids that anyone can derive from its name.

Everybody who works for an invocation, in whatever process and after whatever crash, must name the
same span as its parent, so that span's id follows from the invocation's own name. So does the trace
id, where the caller has none.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
"""

import hashlib
import re
from dataclasses import dataclass

#: Of version 00. Later versions may append fields, which are for those who know them.
_PARENT = re.compile(
    r"(?P<known>(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2}))(?P<more>-.*)?"
)


@dataclass(frozen=True)
class TraceContext:
    """The span in which a caller invoked.

    Attributes:
        traceparent: as W3C Trace Context writes it, 55 characters.
        tracestate: what the vendors on its way added, at most 512 characters.
    """

    traceparent: str
    tracestate: str | None = None

    @classmethod
    def read(cls, traceparent: str | None, tracestate: str | None) -> "TraceContext | None":
        """Read a request's headers; None when there is no valid `traceparent`.

        An invalid one is as none at all, and leaves `tracestate` without meaning: the standard
        forbids to refuse a request for either.
        """
        found = _PARENT.fullmatch(traceparent or "")
        if found is None or (found["version"] == "00" and found["more"]):
            return None
        return cls(found["known"], tracestate or None)

    @property
    def trace_id(self) -> int:
        """128 bits, not 0."""
        return int(self.traceparent[3:35], 16)

    @property
    def span_id(self) -> int:
        """64 bits, not 0."""
        return int(self.traceparent[36:52], 16)

    @property
    def sampled(self) -> bool:
        """Whether the caller records its trace."""
        return bool(int(self.traceparent[53:55], 16) & 1)


def own_trace_id(session: str, invocation_id: str) -> int:
    """The trace id of an invocation whose caller has none: 128 bits, not 0."""
    return _derive("trace", session, invocation_id, 16)


def agent_span_id(session: str, invocation_id: str) -> int:
    """The id of an invocation's span: 64 bits, not 0."""
    return _derive("span", session, invocation_id, 8)


def _derive(what: str, session: str, invocation_id: str, size: int) -> int:
    # No session key and no invocation id has a newline.
    name = "\n".join((what, session, invocation_id)).encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:size]) or 1
