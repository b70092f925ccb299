import pytest

from contracts.tracing import TraceContext, agent_span_id, own_trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def test_a_callers_trace_is_read() -> None:
    trace = TraceContext.read(VALID, "vendor=its-own")
    assert trace == TraceContext(VALID, "vendor=its-own")
    assert trace is not None
    assert (trace.trace_id, trace.span_id) == (int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True)])
def test_whether_the_caller_records_is_read(flags: str, sampled: bool) -> None:
    trace = TraceContext.read(f"00-{TRACE}-{SPAN}-{flags}", None)
    assert trace is not None
    assert trace.sampled is sampled


def test_what_later_versions_append_is_left_out() -> None:
    assert TraceContext.read(f"cc-{TRACE}-{SPAN}-01-more", "") == TraceContext(
        f"cc-{TRACE}-{SPAN}-01"
    )


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-another",
        VALID + "-more",
        VALID.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        VALID + "\n",
    ],
)
def test_an_invalid_trace_is_as_none(text: str | None) -> None:
    assert TraceContext.read(text, "vendor=its-own") is None


def test_ids_follow_from_the_invocation_alone() -> None:
    assert agent_span_id("s", "i") == agent_span_id("s", "i")
    spans = {agent_span_id(*name) for name in (("s", "i"), ("s", "j"), ("t", "i"))}
    traces = {own_trace_id(*name) for name in (("s", "i"), ("s", "j"), ("t", "i"))}
    assert len(spans) == len(traces) == 3
    assert max(spans) < 2**64
    assert max(traces) < 2**128
