"""A turn's trace, as a collector gets it from the real processes."""

from collections.abc import Iterator

import pytest

from tests.e2e.collector import Collector
from tests.e2e.stack import Stack, new_session, say

CALLER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER_SPAN = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    running = Stack(
        tmp_path_factory.mktemp("traced") / "data",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.start(),
        OTEL_BSP_SCHEDULE_DELAY="100",
    ).start()
    yield running
    running.stop()


@pytest.mark.wire("invoke.trace")
def test_a_turn_is_one_tree_under_the_callers_span(traced: Stack, collector: Collector) -> None:
    arn, session = traced.harness(), new_session()
    told = traced.invoke(
        arn,
        session,
        say("Run the shell command `echo quite-private`."),
        traceParent=f"00-{CALLER_TRACE}-{CALLER_SPAN}-01",
        traceState="vendor=its-own",
    )
    assert told.stop_reason == "end_turn"
    harness_id = arn.split("/")[1]

    (agent,) = collector.wait_for("invoke_agent", session)
    chats = collector.wait_for("chat", session, 2)
    (tool,) = collector.wait_for("execute_tool", session)

    assert (agent.trace_id, agent.parent_id) == (CALLER_TRACE, CALLER_SPAN)
    assert agent.tracestate == "vendor=its-own"
    for child in (*chats, tool):
        assert (child.trace_id, child.parent_id) == (CALLER_TRACE, agent.span_id)
        assert agent.start_ns <= child.start_ns <= child.end_ns <= agent.end_ns
    assert len({span.span_id for span in (agent, tool, *chats)}) == 4
    assert {span.service for span in (agent, tool, *chats)} == {"everloop"}

    name = harness_id.rpartition("-")[0]
    assert agent.name == f"invoke_agent {name}"
    assert agent.attributes["gen_ai.agent.id"] == harness_id
    assert agent.attributes["gen_ai.conversation.id"] == session
    assert agent.attributes["everloop.service.name"] == f"harness_{name}.DEFAULT"
    assert agent.attributes["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert [chat.name for chat in chats] == ["chat demo/scripted"] * 2
    assert [chat.attributes["gen_ai.response.finish_reasons"] for chat in chats] == [
        ["tool_use"],
        ["end_turn"],
    ]
    for kind in ("input", "output"):
        spent = [chat.attributes[f"gen_ai.usage.{kind}_tokens"] for chat in chats]
        assert sum(map(int, map(str, spent))) == agent.attributes[f"gen_ai.usage.{kind}_tokens"]
    assert tool.name == "execute_tool shell"
    assert tool.attributes["gen_ai.tool.call.id"] == told.tool_uses[0]["toolUseId"]
    assert not any(span.failed for span in (agent, tool, *chats))
    assert not [body for body in collector.bodies if b"quite-private" in body]


def test_a_worker_killed_mid_call_leaves_one_span_of_the_invocation(
    traced: Stack, collector: Collector
) -> None:
    arn, session = traced.harness(), new_session()
    frames = traced.open(arn, session, say("Count to 150"))
    seen = [frame for frame, _ in zip(frames, range(20), strict=False)]
    assert seen
    traced.kill("worker")
    assert list(frames)
    # What the same process sends after it shows that it had no more of the first to send.
    assert traced.invoke(arn, session, say("Say hello")).stop_reason == "end_turn"

    first, second = collector.wait_for("invoke_agent", session, 2)
    cut, _ = collector.wait_for("chat", session, 2)
    assert len(collector.spans("invoke_agent", session)) == 2
    assert len(collector.spans("chat", session)) == 2, "an attempt that died has no span"
    assert first.trace_id != second.trace_id, "each invocation without a caller's is a trace"
    assert first.parent_id == ""
    assert (cut.trace_id, cut.parent_id) == (first.trace_id, first.span_id)
    assert cut.attributes["everloop.attempt"] == 2
    assert first.start_ns < cut.start_ns < cut.end_ns < first.end_ns
