"""Spans of invocations in a real store, as a collector gets them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from activities.tracing import Traces
from activities.tracing.content import MAX_ATTRIBUTE_CHARS, MAX_PART_CHARS
from activities.tracing.export import Exporter
from contracts.errors import AwsError, ErrorDetail, ModelFailed, ModelFault
from contracts.ids import runtime_session_id
from contracts.messages import Message, StopReason, TextBlock, TokenUsage, ToolStatus
from contracts.records import InvocationState
from contracts.tracing import TraceContext
from store import Store, migrate
from tests.e2e.collector import Collector, Received
from tests.store.play import RUN, Play, answers, inline, says

SPENT = TokenUsage(input_tokens=10, output_tokens=4, cache_read_input_tokens=2)
SAID = Message(role="assistant", blocks=(TextBlock(text="a quiet word"),))
MODEL = RUN.config.model.chosen.model_id


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    server = Collector()
    server.url = server.start()
    yield server
    server.stop()


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    url = f"sqlite:///{tmp_path / 'everloop.db'}"
    await asyncio.to_thread(migrate, url)
    store = await Store.open(url)
    yield await Play.begin(store)
    await store.close()


Process = Callable[..., Exporter]


@pytest.fixture
async def process(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Process]:
    """Makes what a new worker process would have; all end with the test."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    made: list[Exporter] = []

    def make(*, with_content: bool = False) -> Exporter:
        made.append(Exporter(with_content=with_content))
        return made[-1]

    yield make
    for exporter in made:
        await exporter.close()


async def chat(traces: Traces, play: Play, *, heard: str = "Hello") -> None:
    async with traces.chat(play.session, "one", RUN, step=0, attempt=1) as span:
        span.asked(("Be brief.",), (says(heard),))
        span.answered(SAID, StopReason.END_TURN, SPENT)


def of(collector: Collector, kind: str, play: Play, count: int = 1) -> list[Received]:
    return collector.wait_for(kind, runtime_session_id(play.session), count)


async def test_any_process_names_the_same_parent_before_and_after_it_is_sent(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.open("one")
    await chat(Traces(play.store, process()), play)
    await play.step("one", 0)
    await play.close("one")
    # As an activity that runs again because its worker died after it had ended the turn.
    for _ in range(2):
        await Traces(play.store, process()).invocation_over(play.session, "one")

    (before,) = of(collector, "chat", play)
    agent, again = of(collector, "invoke_agent", play, 2)
    assert (before.trace_id, before.parent_id) == (agent.trace_id, agent.span_id)
    assert again == agent


async def test_an_invocation_that_runs_is_not_sent(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.open("one")
    exporter = process()
    traces = Traces(play.store, exporter)
    await traces.invocation_over(play.session, "one")
    await chat(traces, play)
    assert of(collector, "chat", play)
    await exporter.close()
    assert collector.spans("invoke_agent", runtime_session_id(play.session)) == []


async def test_a_caller_that_does_not_record_is_followed(
    play: Play, process: Process, collector: Collector
) -> None:
    unsampled = TraceContext(f"00-{'a' * 32}-{'b' * 16}-00")
    await play.store.turns.admit(
        session=play.session,
        account="000000000000",
        harness_id="helper-abcdefghij",
        runtime_session_id=runtime_session_id(play.session),
        invocation_id="one",
        request_digest="digest",
        config_digest=play.config_digest,
        messages=(says("Hello"),),
        trace=unsampled,
    )
    await play.store.turns.open(play.session, "one")
    exporter = process()
    await chat(Traces(play.store, exporter), play)
    await play.close("one")
    await Traces(play.store, exporter).invocation_over(play.session, "one")
    await exporter.close()
    for kind in ("chat", "invoke_agent"):
        assert collector.spans(kind, runtime_session_id(play.session)) == []


async def test_a_model_call_tells_what_it_used_and_not_what_was_said(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.open("one")
    await chat(Traces(play.store, process()), play)
    (span,) = of(collector, "chat", play)
    assert span.name == f"chat {MODEL}"
    assert span.attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert span.attributes["gen_ai.request.model"] == MODEL
    assert span.attributes["gen_ai.usage.input_tokens"] == 12, "caches are part of the input"
    assert span.attributes["gen_ai.usage.cache_read.input_tokens"] == 2
    assert span.attributes["gen_ai.usage.output_tokens"] == 4
    assert not any("messages" in name or "instructions" in name for name in span.attributes)


async def test_what_was_said_is_sent_when_asked_for_and_bounded(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.open("one")
    await chat(Traces(play.store, process(with_content=True)), play, heard="x" * 100_000)
    (span,) = of(collector, "chat", play)
    heard = str(span.attributes["gen_ai.input.messages"])
    assert len(heard) <= MAX_ATTRIBUTE_CHARS
    (message,) = json.loads(heard)
    assert len(message["parts"][0]["content"]) == MAX_PART_CHARS
    (answer,) = json.loads(str(span.attributes["gen_ai.output.messages"]))
    assert answer["parts"] == [{"type": "text", "content": "a quiet word"}]
    assert "Be brief." in str(span.attributes["gen_ai.system_instructions"])


async def test_failures_are_codes_and_never_words(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.open("one")
    traces = Traces(play.store, process())
    with pytest.raises(ModelFailed):
        async with traces.chat(play.session, "one", RUN, step=0, attempt=1):
            raise ModelFailed("secret words", fault=ModelFault.RATE_LIMITED)
    with pytest.raises(ValueError, match="secret words"):
        async with traces.chat(play.session, "one", RUN, step=0, attempt=2):
            raise ValueError("secret words")
    await play.close("one", None, ErrorDetail(AwsError.RUNTIME_CLIENT, "secret words"))
    await traces.invocation_over(play.session, "one")

    (agent,) = of(collector, "invoke_agent", play)
    limited, broken = of(collector, "chat", play, 2)
    assert agent.failed
    assert agent.attributes["error.type"] == "RuntimeClientError"
    assert limited.failed
    assert limited.attributes["error.type"] == "rate_limited"
    assert broken.attributes["error.type"] == "ValueError"
    assert not [body for body in collector.bodies if b"secret words" in body]


async def test_a_refused_invocation_is_a_span_that_failed(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.ask_person("one", inline("a-call"))
    opening = await play.open("two", answers(("another-call", "yes")))
    assert opening.state is InvocationState.REFUSED
    await Traces(play.store, process()).invocation_over(play.session, "two")
    (agent,) = of(collector, "invoke_agent", play)
    assert agent.attributes["error.type"] == "ValidationException"


async def test_a_tool_call_belongs_to_the_invocation_that_runs_it(
    play: Play, process: Process, collector: Collector
) -> None:
    await play.ask_person("one", inline("a-call"))
    record = await play.store.calls.get(play.session, "a-call")
    await play.open("two", answers(("a-call", "yes")))
    traces = Traces(play.store, process())
    async with traces.tool("two", record, RUN) as tool:
        tool.ended(ToolStatus.ERROR, "Error: secret words")
    async with traces.tool("two", record, RUN) as tool:
        tool.ended_elsewhere()
    await play.close("two")
    await traces.invocation_over(play.session, "two")

    (agent,) = of(collector, "invoke_agent", play)
    (span,) = of(collector, "execute_tool", play)
    assert span.parent_id == agent.span_id
    assert span.attributes["gen_ai.tool.call.id"] == "a-call"
    assert span.attributes["error.type"] == "tool_error"
    assert not [body for body in collector.bodies if b"secret words" in body]
