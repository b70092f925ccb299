"""InvokeHarness through boto3 and a real server over a log that the test writes as it goes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import EventStreamError

import api.stream
from contracts.errors import AwsError, ErrorDetail, ServiceError
from contracts.messages import Message, StopReason, TextBlock, ToolUseBlock
from contracts.records import InvocationState, NewCall
from contracts.tools import ToolKind
from store import migrate
from tests.api import reader
from tests.api.live import Live, Turn, drain, live_server, with_header

SESSION_HEADER = "x-amzn-bedrock-agentcore-runtime-session-id"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


def says(text: str) -> Message:
    return Message(
        role="assistant", blocks=(TextBlock(text=text),), stop_reason=StopReason.END_TURN
    )


def asks(*uses: ToolUseBlock) -> Message:
    return Message(role="assistant", blocks=uses, stop_reason=StopReason.TOOL_USE)


async def answer_briefly(turn: Turn) -> None:
    await turn.open()
    await turn.begin()
    await turn.stream("Hi")
    await turn.commit(says("Hi there"))
    await turn.close()


APPROVE = ToolUseBlock(id="t1", name="approve", input={"sum": 5}, input_text='{"sum":5}')


async def ask_for_approval(turn: Turn) -> None:
    if (await turn.open()).state is not InvocationState.OPEN:
        return
    await turn.begin()
    await turn.commit(asks(APPROVE), NewCall(APPROVE, ToolKind.INLINE, None, 60))
    await turn.hand_over()
    await turn.close(StopReason.TOOL_USE)


@pytest.mark.wire("invoke.form", "invoke.session-echo", "stream.form")
async def test_a_turn_is_an_event_stream(live: Live):
    live.sessions.play = answer_briefly
    answer = await live.invoke(await live.harness())
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    assert headers[SESSION_HEADER] == "s" * 33
    ((request, waiting),) = live.sessions.brought
    assert headers["x-everloop-invocation-id"] == request.invocation_id
    assert (request.enqueue, waiting) == (False, False)
    (told,) = reader.assemble(await asyncio.to_thread(drain, answer))
    assert (told.text, told.stop) == ("Hi there", "end_turn")
    assert told.usage == {
        "inputTokens": 3,
        "outputTokens": 2,
        "totalTokens": 5,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokens": 0,
    }


@pytest.mark.wire("stream.live")
async def test_pieces_arrive_while_the_model_still_speaks(live: Live):
    seen = asyncio.Event()

    async def speak(turn: Turn) -> None:
        await turn.open()
        await turn.begin()
        await turn.stream("Once")
        await seen.wait()
        await turn.commit(says("Once upon a time"))
        await turn.close()

    live.sessions.play = speak
    answer = await live.invoke(await live.harness())
    events = iter(answer["stream"])
    first = [await asyncio.to_thread(next, events) for _ in range(2)]
    assert first[1] == {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Once"}}}
    seen.set()
    rest = await asyncio.to_thread(list, events)
    answer["stream"].close()
    assert reader.assemble(first + rest)[0].text == "Once upon a time"


@pytest.mark.wire(
    "invoke.actor", "override.scope", "override.model", "override.allowed-tools", "override.limits"
)
async def test_overrides_hold_for_one_invocation(live: Live):
    live.sessions.play = answer_briefly
    arn = await live.harness(systemPrompt=[{"text": "Be brief."}], maxIterations=9)
    model = {"liteLlmModelConfig": {"modelId": "demo/echo", "temperature": 0.5}}
    await live.say(arn, model=model, maxIterations=2, allowedTools=["shell"], actorId="ann")
    await live.say(arn, runtimeUserId="bob")
    await live.say(arn)
    configs = [
        await live.store.turns.config(
            f"session:000000000000:{arn.partition('harness/')[2]}:{'s' * 33}", each.invocation_id
        )
        for each, _ in live.sessions.brought
    ]
    assert [each.actor_id for each in configs] == ["ann", "bob", "default"]
    assert [each.config.max_iterations for each in configs] == [2, 9, 9]
    assert configs[0].config.model.chosen.model_id == "demo/echo"
    assert configs[0].config.allowed_tools == ("shell",)
    assert configs[0].config.system_prompt == configs[2].config.system_prompt
    assert (configs[0].harness_arn, configs[0].harness_version) == (arn, "1")


@pytest.mark.wire("invoke.content", "invoke.result-json", "invoke.history")
async def test_all_kinds_of_content_reach_the_transcript(live: Live):
    live.sessions.play = answer_briefly
    arn = await live.harness()
    use = {"toolUseId": "u1", "name": "look", "input": {"at": [1, None]}}
    result = {"toolUseId": "u1", "content": [{"text": "a"}, {"json": {"b": "ä"}}]}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"text": "Hello"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": b"\x00\xff"}},
                {"toolUse": use},
            ],
        },
        {"role": "user", "content": [{"toolResult": {**result, "status": "error"}}]},
    ]
    await live.say(arn, messages=messages)
    session = f"session:000000000000:{arn.partition('harness/')[2]}:{'s' * 33}"
    stored = await live.store.transcript.window(session, upto_seq=3, limit=None)
    plain = [each.message.model_dump(exclude_defaults=True) for each in stored]
    assert plain[1]["blocks"] == (
        {"text": "hm", "signature": "s"},
        {"redacted": "AP8="},
        {
            "id": "u1",
            "name": "look",
            "input": {"at": [1, None]},
            "input_text": '{"at":[1,null]}',
        },
    )
    assert plain[2]["blocks"][0]["content"] == ("a", '{"b":"ä"}')
    assert plain[2]["blocks"][0]["status"] == "error"


@pytest.mark.wire("inline.september", "inline.echo")
async def test_a_person_answers_in_a_second_call(live: Live):
    live.sessions.play = ask_for_approval
    arn = await live.harness()
    (asked,) = reader.assemble(await live.say(arn))
    assert asked.stop == "tool_use"
    assert reader.described(asked.blocks[0]) == ("tool", "t1", "approve", {"sum": 5})
    live.sessions.play = answer_briefly
    result = {"toolUseId": "t1", "content": [{"text": "yes"}]}
    echoed, last = reader.assemble(await live.say(arn, {"toolResult": result}))
    assert (echoed.role, echoed.stop, echoed.blocks[0].results) == ("user", "tool_result", ["yes"])
    assert (last.text, last.stop) == ("Hi there", "end_turn")
    assert [waiting for _, waiting in live.sessions.brought] == [False, True]


@pytest.mark.wire("inline.new-text")
async def test_a_refused_invocation_is_an_http_error(live: Live):
    live.sessions.play = ask_for_approval
    arn = await live.harness()
    await live.say(arn)
    with pytest.raises(live.data.exceptions.ValidationException, match="t1") as refused:
        await live.invoke(arn, {"text": "Never mind"})
    assert refused.value.response["fieldList"][0]["name"].startswith("messages[0]")


@pytest.mark.wire("invoke.busy")
async def test_a_busy_session_throttles(live: Live):
    live.sessions.refusal = ServiceError(AwsError.THROTTLING, "invocation a is running")
    arn = await live.harness()
    with pytest.raises(live.data.exceptions.ThrottlingException, match="invocation a") as refused:
        await live.invoke(arn)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


async def test_a_refused_second_update_follows_the_turn_that_the_first_began(live: Live):
    async def begin_and_forget(turn: Turn) -> None:
        await answer_briefly(turn)

    live.sessions.play = begin_and_forget
    arn = await live.harness()
    invoke = live.sessions.invoke

    async def lose_the_answer(session: str, request: Any, *, waiting: bool) -> Any:
        await invoke(session, request, waiting=waiting)
        await asyncio.gather(*live.sessions.tasks)
        raise ServiceError(AwsError.THROTTLING, "invocation x is running")

    live.sessions.invoke = lose_the_answer
    (told,) = reader.assemble(await live.say(arn))
    assert told.text == "Hi there"


@pytest.mark.wire("invoke.busy")
async def test_enqueue_is_passed_on(live: Live):
    live.sessions.play = answer_briefly
    with_header(live.data, "x-everloop-if-busy", "enqueue")
    await live.say(await live.harness())
    assert live.sessions.brought[0][0].enqueue


@pytest.mark.wire("invoke.idempotency", "invoke.trace")
async def test_the_same_invocation_id_shows_the_same_turn_again(live: Live):
    live.sessions.play = answer_briefly
    with_header(live.data, "x-everloop-invocation-id", "order-17")
    arn = await live.harness()
    first = reader.assemble(await live.say(arn))
    again = reader.assemble(await live.say(arn, traceParent="00-another"))
    assert again == first
    assert [request.invocation_id for request, _ in live.sessions.brought] == ["order-17"]
    with pytest.raises(live.data.exceptions.ValidationException) as refused:
        await live.invoke(arn, {"text": "Something else"})
    assert refused.value.response["reason"] == "IdempotentParameterMismatchException"


async def test_a_client_that_comes_late_sees_the_turn_from_its_beginning(live: Live):
    seen = asyncio.Event()

    async def work(turn: Turn) -> None:
        use = ToolUseBlock(id="t1", name="shell", input={}, input_text="{}")
        await turn.open()
        await turn.begin()
        await turn.stream("Let me")
        await turn.commit(asks(use), NewCall(use, ToolKind.SANDBOX, "q", 60))
        await turn.finish("t1", "files")
        await turn.begin(1)
        await turn.stream("Two ", step=1)
        await seen.wait()
        await turn.commit(says("Two files"), step=1)
        await turn.close()

    live.sessions.play = work
    with_header(live.data, "x-everloop-invocation-id", "late")
    arn = await live.harness()
    early = await live.invoke(arn)
    late = await live.invoke(arn)
    seen.set()
    both = [reader.assemble(await asyncio.to_thread(drain, each)) for each in (early, late)]
    kept = [[told for told in each if told.stop != "interrupted"] for each in both]
    assert kept[0] == kept[1]
    assert [each.stop for each in kept[1]] == ["tool_use", "tool_result", "end_turn"]
    assert len(live.sessions.brought) == 1


@pytest.mark.wire("invoke.idempotency")
async def test_the_sdks_own_invocation_id_is_the_key(live: Live):
    live.sessions.play = answer_briefly
    await live.say(await live.harness())
    ((request, _),) = live.sessions.brought
    assert len(request.invocation_id) == 36


@pytest.mark.wire("stream.errors")
async def test_a_failed_turn_raises_in_the_stream(live: Live):
    async def fail(turn: Turn) -> None:
        await turn.open()
        error = ErrorDetail(AwsError.RUNTIME_CLIENT, "The model is unknown.")
        await turn.close(None, error)

    live.sessions.play = fail
    arn = await live.harness()
    with pytest.raises(EventStreamError, match="The model is unknown"):
        await live.say(arn)


@pytest.mark.wire("invoke.qualifier-unknown")
async def test_an_unknown_endpoint_is_named(live: Live):
    arn = await live.harness()
    with pytest.raises(live.data.exceptions.ResourceNotFoundException, match="canary"):
        await live.invoke(arn, qualifier="canary")
    live.sessions.play = answer_briefly
    assert await live.say(arn, qualifier="DEFAULT")


@pytest.mark.wire("stream.silence")
async def test_a_silent_stream_is_kept_alive(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.stream, "KEEP_ALIVE_S", 0.02)
    silent = asyncio.Event()
    spoken = asyncio.Event()
    asked = 0
    runs = live.sessions.runs

    async def count(session: str) -> bool:
        nonlocal asked
        asked += 1
        if asked >= 3:
            silent.set()
        return await runs(session)

    async def think(turn: Turn) -> None:
        await silent.wait()
        await answer_briefly(turn)
        spoken.set()

    live.sessions.runs = count
    live.sessions.play = think
    (told,) = reader.assemble(await live.say(await live.harness()))
    assert told.text == "Hi there"
    assert spoken.is_set()


async def test_a_run_that_is_gone_ends_the_stream(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.stream, "KEEP_ALIVE_S", 0.02)

    async def vanish(turn: Turn) -> None:
        await turn.open()
        live.sessions.running = False

    live.sessions.play = vanish
    arn = await live.harness()
    with pytest.raises(EventStreamError, match="run ended") as raised:
        await live.say(arn)
    assert raised.value.response["Error"]["Code"] == "internalServerException"


@pytest.mark.wire("error.unexpected")
async def test_an_unforeseen_error_ends_the_stream_with_an_opaque_id(
    live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def break_down(session: str, seq: int) -> Message:
        raise RuntimeError(" ".join(["what", "was", "asked"]))

    monkeypatch.setattr(live.store.transcript, "message", break_down)
    live.sessions.play = answer_briefly
    arn = await live.harness()
    with pytest.raises(EventStreamError, match="An unexpected error occurred") as raised:
        await live.say(arn)
    error: dict[str, str] = cast("Any", raised.value).response["Error"]
    assert error["Code"] == "internalServerException"
    assert error["Message"].rpartition(" ")[2].rstrip(".") in caplog.text
    assert "what was asked" not in caplog.text


async def test_a_run_that_never_began_is_an_http_error(live: Live, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.stream, "KEEP_ALIVE_S", 0.02)
    live.sessions.running = False
    arn = await live.harness()
    with pytest.raises(live.data.exceptions.InternalServerException, match="run ended"):
        await live.invoke(arn)


@pytest.mark.wire("invoke.disconnect")
async def test_a_turn_goes_on_when_its_client_leaves(live: Live):
    left = asyncio.Event()

    async def work(turn: Turn) -> None:
        await turn.open()
        await turn.begin()
        await turn.stream("Once")
        await left.wait()
        await turn.commit(says("Once upon a time"))
        await turn.close()

    live.sessions.play = work
    arn = await live.harness()
    answer = await live.invoke(arn)
    await asyncio.to_thread(next, iter(answer["stream"]))
    answer["stream"].close()
    left.set()
    await asyncio.gather(*live.sessions.tasks)
    ((request, _),) = live.sessions.brought
    session = f"session:000000000000:{arn.partition('harness/')[2]}:{'s' * 33}"
    record = await live.store.turns.invocation(session, request.invocation_id)
    assert record is not None and record.state is InvocationState.ENDED


@pytest.mark.wire("invoke.qualifier", "version.running-turn")
async def test_a_qualifier_chooses_the_version_and_a_running_turn_keeps_its_own(live: Live):
    arn = await live.harness(maxIterations=1)
    harness_id = arn.rpartition("/")[2]
    control, go_on = live.control, asyncio.Event()
    seen: list[tuple[str, int]] = []

    async def look(turn: Turn) -> None:
        await turn.open()
        if not seen:
            await go_on.wait()
        config = await live.store.turns.config(turn.session, turn.invocation_id)
        seen.append((config.harness_version, config.config.max_iterations))
        await turn.begin()
        await turn.commit(says("Hi"))
        await turn.close()

    live.sessions.play = look
    await asyncio.to_thread(
        control.create_harness_endpoint, harnessId=harness_id, endpointName="prod"
    )
    running = asyncio.create_task(live.invoke(arn, qualifier="prod"))
    while not live.sessions.brought:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(control.update_harness, harnessId=harness_id, maxIterations=2)
    await asyncio.to_thread(
        control.update_harness_endpoint,
        harnessId=harness_id,
        endpointName="prod",
        targetVersion="2",
    )
    go_on.set()
    await asyncio.to_thread(drain, await running)
    await live.say(arn, qualifier="prod")
    await asyncio.to_thread(control.update_harness, harnessId=harness_id, maxIterations=3)
    await live.say(arn, qualifier="prod")
    await live.say(arn)
    assert seen == [("1", 1), ("2", 2), ("2", 2), ("3", 3)]
