"""The activity, in Temporal's test environment, on a real store and real servers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.model.window import shown
from contracts.errors import ErrorType
from contracts.messages import (
    Message,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolResultBlock,
    ToolUseBlock,
)
from contracts.settings import Settings
from contracts.tools import CallState
from contracts.turn import MAX_ATTEMPTS, MODEL_ERRORS
from store import Store
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import (
    Reply,
    call_delta,
    chat,
    chat_chunk,
    error,
    replaying,
    sse,
)
from tests.activities.model.session import INVOCATION, SESSION, Session, at, run_config

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

#: Before the second attempt.
SOON = timedelta(seconds=0.1)
DEMO = {"liteLlmModelConfig": {"modelId": "demo/scripted"}}


@pytest.fixture
def session(store: Store, settings: Settings) -> Session:
    return Session(store, settings)


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.002)


def shell_call(arguments: str = '{"command":"ls"}', name: str = "shell") -> Reply:
    return chat(
        {"content": "I look."},
        call_delta(0, id="c", name=name),
        call_delta(0, arguments=arguments),
        finish="tool_calls",
    )


@pytest.mark.wire("tools.builtin")
async def test_an_answer_is_settled_in_the_store(session: Session) -> None:
    async with replaying(chat({"content": "Hel"}, {"content": "lo"})) as provider:
        await session.open(run_config(at(provider.url), systemPrompt=[{"text": "Be."}]), "hi")
        reply = await session.call()
    assert (reply.stop_reason, reply.output_tokens, reply.calls) == (StopReason.END_TURN, 7, ())
    message = await session.store.transcript.message(SESSION, reply.seq)
    assert message.blocks == (TextBlock(text="Hello"),)
    (request,) = provider.requests
    assert request.body["messages"] == [
        {"role": "system", "content": "Be."},
        {"role": "user", "content": "hi"},
    ]
    names = [tool["function"]["name"] for tool in request.body["tools"]]
    assert names == ["shell", "file_operations", "approve"]


async def test_no_model_is_called_once_the_budget_is_spent(session: Session) -> None:
    budget = {"budget": {"tokensPerSession": 7, "atLimit": "stop"}}
    async with replaying(shell_call()) as provider:
        await session.open(run_config(at(provider.url), extensions=budget), "hi")
        first = await session.call()
        await session.answer(first)
        ends = [await session.call(step=1) for _ in range(2)]
    assert first.stop_reason is StopReason.TOOL_USE
    assert [end.stop_reason for end in ends] == [StopReason.MAX_OUTPUT_TOKENS_EXCEEDED] * 2
    assert {(end.seq, end.output_tokens, end.calls) for end in ends} == {(first.seq + 1, 0, ())}
    assert len(provider.requests) == 1
    again = await session.call()
    assert (again.seq, again.stop_reason) == (first.seq, first.stop_reason)


async def test_pieces_are_in_the_log_while_the_model_still_speaks(session: Session) -> None:
    reply = Reply(sse(chat_chunk({"content": "Hel"}), chat_chunk({"content": "lo"})), hold=True)
    async with replaying(reply) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        calling = asyncio.create_task(session.call())

        async def all_there() -> bool:
            return await session.streamed() == "Hello"

        await until(all_there)
        assert not calling.done()
        session.temporal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_cancelling_ends_the_providers_stream_at_once(session: Session) -> None:
    reply = Reply(sse(chat_chunk({"content": "a"})), hold=True)
    async with replaying(reply) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        calling = asyncio.create_task(session.call())

        async def some_there() -> bool:
            return bool(await session.streamed())

        await until(some_there)
        session.temporal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await asyncio.wait_for(provider.left.wait(), 5)


async def test_temporal_hears_from_a_silent_model(session: Session) -> None:
    beats: list[tuple[Any, ...]] = []
    session.temporal.on_heartbeat = lambda *details: beats.append(details)
    async with replaying(Reply(sse(chat_chunk({})), hold=True)) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        calling = asyncio.create_task(session.call())

        async def twice() -> bool:
            return len(beats) >= 2

        await until(twice)
        session.temporal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_a_tool_call_names_its_runner(session: Session) -> None:
    async with replaying(shell_call('{"command":"ls","timeout":9}')) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        reply = await session.call()
    (ref,) = reply.calls
    assert (ref.queue, ref.timeout_s) == ("sandbox-local", 9)
    stored = await session.store.calls.get(SESSION, ref.id)
    assert (stored.name, stored.input, stored.state) == (
        "shell",
        {"command": "ls", "timeout": 9},
        CallState.REQUESTED,
    )
    assert reply.stop_reason is StopReason.TOOL_USE


async def test_an_inline_call_goes_to_the_caller(session: Session) -> None:
    async with replaying(shell_call('{"what":"x"}', name="approve")) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        reply = await session.call()
    assert reply.calls[0].queue is None


@pytest.mark.wire("tools.unknown", "tools.errors")
@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("bash", "{}", "no tool named `bash`"),
        ("shell", "{}", "'command' is a required property"),
        ("shell", '{"command": ', "not valid JSON"),
        ("approve", '{"what": 1}', "is not of type 'string'"),
    ],
)
async def test_a_call_that_cannot_be_made_is_answered_at_once(
    session: Session, name: str, arguments: str, told: str
) -> None:
    mend = chat({"content": "I see."})
    async with replaying(shell_call(arguments, name), mend) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        reply = await session.call()
        assert reply.calls == ()
        assert reply.stop_reason is StopReason.TOOL_USE
        session.seq = reply.seq + 1
        await session.call(step=1)
    last = provider.requests[1].body["messages"][-1]
    assert last["role"] == "tool" and told in last["content"]


NEEDY: dict[str, Any] = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}


def tool(schema: dict[str, Any]) -> dict[str, Any]:
    function = {"description": "d", "inputSchema": {"type": "object", **schema}}
    return {"type": "inline_function", "name": "now", "config": {"inlineFunction": function}}


def empty_call(fragments: tuple[str, ...]) -> Reply:
    """A call of `now` as OpenAI streams one without arguments: its head, and nothing of them."""
    pieces = (call_delta(0, arguments=text) for text in fragments)
    return chat(call_delta(0, id="c", name="now"), *pieces, finish="tool_calls")


@pytest.mark.wire("tools.no-arguments")
@pytest.mark.parametrize("schema", [{}, {"properties": {"zone": {}}}, {"required": []}])
@pytest.mark.parametrize("fragments", [(), ("",), ("{}",)])
async def test_empty_arguments_are_an_empty_object_where_the_schema_takes_it(
    session: Session, schema: dict[str, Any], fragments: tuple[str, ...]
) -> None:
    async with replaying(empty_call(fragments), empty_call(fragments)) as provider:
        await session.open(run_config(at(provider.url), tools=[tool(schema)]), "hi")
        for step in range(2):
            reply = await session.call(step)
            assert reply.stop_reason is StopReason.TOOL_USE
            (ref,) = reply.calls
            stored = await session.store.calls.get(SESSION, ref.id)
            assert (stored.input, stored.state) == ({}, CallState.REQUESTED)
            await session.answer(reply)
    assistant = provider.requests[1].body["messages"][-2]
    assert assistant["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.wire("tools.no-arguments", "stop.malformed_tool_use")
@pytest.mark.parametrize("schema", [{"required": ["zone"]}, NEEDY, {"minProperties": 1}])
async def test_empty_arguments_are_mended_once_where_the_schema_asks_for_members(
    session: Session, schema: dict[str, Any]
) -> None:
    async with replaying(empty_call(()), empty_call(())) as provider:
        await session.open(run_config(at(provider.url), tools=[tool(schema)]), "hi")
        first = await session.call()
        assert (first.stop_reason, first.calls) == (StopReason.TOOL_USE, ())
        session.seq = first.seq + 1
        second = await session.call(step=1)
    assert second.stop_reason is StopReason.MALFORMED_TOOL_USE
    read = provider.requests[1].body["messages"][-1]
    assert read["role"] == "tool" and "do not fit the schema" in read["content"]


@pytest.mark.wire("allowed.enforced")
async def test_tools_that_are_not_allowed_are_neither_offered_nor_run(session: Session) -> None:
    async with replaying(shell_call()) as provider:
        await session.open(run_config(at(provider.url), allowedTools=["@approve"]), "hi")
        reply = await session.call()
    assert [tool["function"]["name"] for tool in provider.requests[0].body["tools"]] == ["approve"]
    assert reply.calls == ()


async def test_a_settled_step_is_returned_without_asking_again(session: Session) -> None:
    async with replaying(shell_call()) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        first = await session.call()
        assert await session.call() == first
    assert len(provider.requests) == 1


async def test_a_loop_with_its_results(session: Session) -> None:
    async with replaying(shell_call(), chat({"content": "done"})) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        await session.answer(await session.call(), "a file")
        reply = await session.call(step=1)
    assert reply.stop_reason is StopReason.END_TURN
    messages = provider.requests[1].body["messages"]
    assert [message["role"] for message in messages[1:]] == ["user", "assistant", "tool"]
    assert messages[-1]["content"] == "a file"
    assert messages[-1]["tool_call_id"] == messages[-2]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("reply", "pause"),
    [
        (error(429, "slow down", retry_after="7"), timedelta(seconds=7)),
        (error(500, "boom"), SOON),
        (Reply(sse(chat_chunk({"content": "a"})), cut=True), SOON),
        (chat({"content": "a"}, finish=None), SOON),
    ],
    ids=["rate limit", "server error", "cut", "no finish reason"],
)
async def test_what_may_pass_is_left_to_temporal(
    session: Session, reply: Reply, pause: timedelta
) -> None:
    async with replaying(reply, chat({"content": "ok"})) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        with pytest.raises(ApplicationError) as raised:
            await session.call()
        assert raised.value.type == ErrorType.MODEL_UNAVAILABLE
        assert not raised.value.non_retryable
        assert raised.value.next_retry_delay == pause
        assert await session.note()
        again = await session.call()
    message = await session.store.transcript.message(SESSION, again.seq)
    assert message.blocks == (TextBlock(text="ok"),)


@pytest.mark.parametrize(
    ("before", "pause"),
    [(0, SOON), (3, 8 * SOON), (MODEL_ERRORS - 2, 64 * SOON), (MODEL_ERRORS - 1, None)],
)
async def test_errors_count_and_attempts_that_died_do_not(
    session: Session, before: int, pause: timedelta | None
) -> None:
    beats: list[int] = []
    session.temporal.info = replace(
        session.temporal.info, attempt=MAX_ATTEMPTS - 1, heartbeat_details=[before]
    )
    session.temporal.on_heartbeat = beats.append
    async with replaying(error(500, "boom")) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        with pytest.raises(ApplicationError) as raised:
            await session.call()
    assert raised.value.type == ErrorType.MODEL_UNAVAILABLE
    assert raised.value.non_retryable is (pause is None)
    assert raised.value.next_retry_delay == pause
    assert (beats[0], beats[-1]) == (before, before + 1), "what the next attempt is told"


async def test_a_refusal_is_final_and_its_words_are_for_the_user_only(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "planted-key-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    async with replaying(error(401, f"Incorrect API key provided: {key}")) as provider:
        session.settings = replace(session.settings, keyed_api_bases=(provider.url,))
        await session.open(run_config(at(provider.url)), "hi")
        with pytest.raises(ApplicationError) as raised:
            await session.call()
    assert raised.value.type == ErrorType.MODEL_REFUSED
    assert raised.value.non_retryable
    assert raised.value.details == ("not_authorised",)
    assert "Incorrect" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert provider.requests[0].headers["authorization"] == f"Bearer {key}"
    note = await session.note()
    assert note is not None and "Incorrect API key provided: [removed]" in note
    assert key not in note


async def test_a_model_that_is_not_set_up_is_said(session: Session) -> None:
    await session.open(run_config(DEMO), "hi")
    with pytest.raises(ApplicationError) as raised:
        await session.call()
    assert raised.value.type == ErrorType.MODEL_REFUSED
    assert "EVERLOOP_DEMO_MODEL_URL" in (await session.note() or "")


@pytest.mark.wire("stop.model_context_window_exceeded")
async def test_an_overflow_ends_the_turn_with_its_reason(session: Session) -> None:
    async with replaying(error(400, "maximum context length is 9 tokens")) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        reply = await session.call()
    assert reply.stop_reason is StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED


async def test_an_overtaken_attempt_stops_and_writes_nothing_more(session: Session) -> None:
    held = Reply(sse(chat_chunk({"content": "a"})), hold=True)
    async with replaying(held, chat({"content": "new"})) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        zombie = asyncio.create_task(session.call())

        async def some_there() -> bool:
            return bool(await session.streamed())

        await until(some_there)
        successor = Session(session.store, session.settings, seq=session.seq)
        reply = await successor.call()
        await provider.release()
        with pytest.raises(ApplicationError) as raised:
            await zombie
    message = await session.store.transcript.message(SESSION, reply.seq)
    assert message.blocks == (TextBlock(text="new"),)
    assert raised.value.type in (ErrorType.STALE_ATTEMPT, ErrorType.MODEL_UNAVAILABLE)


async def test_a_broken_store_shows_no_words(session: Session) -> None:
    with pytest.raises(ApplicationError) as raised:
        await session.call(invocation_id="unknown-words")
    assert raised.value.type in (ErrorType.MACHINERY, ErrorType.STALE_ATTEMPT)
    assert "unknown-words" not in str(raised.value)


@pytest.mark.wire("stream.cached-usage")
async def test_usage_is_stored_with_the_step(session: Session) -> None:
    async with replaying(chat({"content": "a"})) as provider:
        await session.open(run_config(at(provider.url)), "hi")
        await session.call()
    start = await session.store.turns.begin_step(SESSION, INVOCATION, 0)
    assert start.settled is not None
    assert start.settled.usage == TokenUsage(
        input_tokens=8, output_tokens=7, cache_read_input_tokens=3
    )


async def test_the_demo_model_drives_a_loop_past_its_window(
    store: Store, settings: Settings, demo_url: str
) -> None:
    session = Session(store, replace(settings, demo_model_url=demo_url))
    window = {"strategy": "sliding_window", "config": {"slidingWindow": {"messagesCount": 2}}}
    await session.open(
        run_config(DEMO, truncation=window), "Repeat 4 times: Run the shell command `date`."
    )
    for step in range(4):
        reply = await session.call(step)
        assert len(reply.calls) == 1
        await session.answer(reply, f"result {step}")
    reply = await session.call(4)
    assert reply.stop_reason is StopReason.END_TURN
    message = await store.transcript.message(SESSION, reply.seq)
    (said,) = message.blocks
    assert isinstance(said, TextBlock) and "result 3" in said.text


@pytest.mark.wire("truncation.sliding-window", "truncation.none")
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 100, None])
async def test_a_window_is_always_a_conversation(session: Session, limit: int | None) -> None:
    replies = (shell_call(), shell_call(), chat({"content": "done"}))
    async with replaying(*replies) as provider:
        await session.open(run_config(at(provider.url)), "first")
        await session.answer(await session.call(0))
        await session.answer(await session.call(1))
    start = await session.store.turns.begin_step(SESSION, INVOCATION, 2)
    messages = await shown(session.store, SESSION, upto_seq=start.seq, limit=limit)
    assert messages[0] == Message(role="user", blocks=(TextBlock(text="first"),))
    uses = {u.id for m in messages for u in m.blocks if isinstance(u, ToolUseBlock)}
    results = {r.tool_use_id for m in messages for r in m.blocks if isinstance(r, ToolResultBlock)}
    assert results == uses
    assert len(uses) == (1 if limit is not None and limit < 3 else 2)
