import pytest

from contracts.errors import AwsError, ErrorDetail, Reason, ServiceError
from contracts.events import EventKind, Handover, Refused, Results
from contracts.messages import StopReason, TextBlock, TokenUsage, ToolResultBlock
from contracts.records import InvocationState
from contracts.tools import CallState
from store.bounds import MAX_REQUEST_BYTES
from store.opening import ABANDONED
from tests.store.play import RUN, Play, answers, inline, sandbox, says, unanswered

OPENED, MESSAGE, RESULTS = EventKind.OPENED, EventKind.MESSAGE, EventKind.RESULTS
HANDOVER, END = EventKind.HANDOVER, EventKind.END


async def test_admitting_twice_returns_the_same_invocation(play: Play) -> None:
    first = await play.admit("i1")
    assert (first.state, first.first_cursor) == (InvocationState.NEW, 1)
    assert await play.admit("i1") == first
    assert await play.store.turns.invocation(play.session, "i1") == first
    assert await play.store.turns.invocation(play.session, "i2") is None


async def test_admitting_another_request_under_the_same_id_is_refused(play: Play) -> None:
    await play.admit("i1")
    with pytest.raises(ServiceError, match="x-everloop-invocation-id") as caught:
        await play.admit("i1", request_digest="other")
    assert caught.value.detail.reason is Reason.IDEMPOTENT_PARAMETER_MISMATCH


async def test_a_request_that_is_too_large_is_refused(play: Play) -> None:
    with pytest.raises(ServiceError, match=str(MAX_REQUEST_BYTES)):
        await play.admit("i1", says("x" * MAX_REQUEST_BYTES))


async def test_the_configuration_of_an_invocation_is_found(play: Play) -> None:
    await play.admit("i1")
    assert await play.store.turns.config(play.session, "i1") == RUN


async def test_opening_appends_the_messages_once(play: Play) -> None:
    opened = await play.open("i1", says("One"))
    assert (opened.state, opened.seq, opened.todo) == (InvocationState.OPEN, 1, ())
    assert opened.config == RUN
    assert await play.store.turns.open(play.session, "i1") == opened
    assert await play.messages() == [says("One")]
    assert await play.kinds() == [OPENED]


async def test_opening_what_was_never_admitted_is_an_error(play: Play) -> None:
    await play.admit("i1")
    with pytest.raises(ServiceError, match="i2"):
        await play.store.turns.open(play.session, "i2")
    with pytest.raises(ServiceError, match="nowhere"):
        await play.store.turns.open("nowhere", "i1")


async def test_a_refused_invocation_changes_nothing_and_says_why(play: Play) -> None:
    opened = await play.open("i1", answers(("unknown", "yes")))
    assert opened.state is InvocationState.REFUSED
    assert (await play.store.turns.open(play.session, "i1")).state is InvocationState.REFUSED
    assert await play.messages() == []
    (event,) = await play.events()
    assert isinstance(event.payload, Refused)
    assert event.payload.error is AwsError.VALIDATION
    record = await play.admit("i1")
    assert record.state is InvocationState.REFUSED
    assert record.error is not None
    assert record.error.message == event.payload.message
    assert record.ended_at is not None


@pytest.mark.wire("stream.parallel")
async def test_a_turn_with_tools_leaves_results_in_call_order(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"), sandbox("b"))
    await play.finish("b", "a")
    await play.step("i1", 1)
    await play.close("i1")
    messages = await play.messages()
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant"]
    assert [
        (block.tool_use_id, block.content)
        for block in messages[2].blocks
        if isinstance(block, ToolResultBlock)
    ] == [("a", ("a done",)), ("b", ("b done",))]
    assert await play.kinds() == [OPENED, MESSAGE, RESULTS, MESSAGE, END]
    record = await play.admit("i1")
    assert record.usage == TokenUsage(input_tokens=14, output_tokens=6)
    assert (record.state, record.stop_reason) == (InvocationState.ENDED, StopReason.END_TURN)
    assert record.ended_at is not None


async def test_calls_for_the_caller_alone_end_the_stream_with_the_assistant_message(
    play: Play,
) -> None:
    await play.ask_person("i1", inline("a"))
    assert await play.kinds() == [OPENED, MESSAGE, END]
    (call,) = await play.store.calls.pending(play.session)
    assert (call.id, call.state) == ("a", CallState.WAITING)


@pytest.mark.wire("inline.mixed", "inline.several")
async def test_results_before_a_handover_are_shown_and_the_waiting_calls_told_again(
    play: Play,
) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"), inline("b"), inline("c"))
    await play.finish("a")
    for _ in range(2):
        await play.store.turns.hand_over(play.session, "i1")
    await play.close("i1", StopReason.TOOL_USE)
    await play.store.turns.hand_over(play.session, "i1")
    assert await play.kinds() == [OPENED, MESSAGE, RESULTS, HANDOVER, END]
    payloads = [event.payload for event in await play.events()]
    assert payloads[2] == Results(tool_use_ids=("a",))
    assert payloads[3] == Handover(tool_use_ids=("b", "c"))


@pytest.mark.wire("inline.all-at-once", "inline.several")
async def test_all_answers_at_once_settle_the_message_with_the_text_behind(play: Play) -> None:
    await play.ask_person("i1", inline("a"), inline("b"))
    opened = await play.open("i2", answers(("b", "no"), ("a", "yes"), text="Go on"))
    assert (opened.state, opened.seq, opened.todo, opened.waiting) == (
        InvocationState.OPEN,
        3,
        (),
        False,
    )
    assert await play.store.turns.open(play.session, "i2") == opened
    assert await play.kinds("i2") == [OPENED, RESULTS]
    settled = (await play.messages())[2]
    assert settled == answers(("a", "yes"), ("b", "no"), text="Go on")
    last = await play.store.transcript.last_user_text(play.session, upto_seq=3)
    assert last is not None
    assert (last.seq, last.invocation_id) == (3, "i2")


@pytest.mark.wire("inline.partial")
async def test_a_partial_answer_is_shown_and_the_rest_waits_on(play: Play) -> None:
    await play.ask_person("i1", inline("a"), inline("b"))
    opened = await play.open("i2", answers(("b", "no")))
    assert (opened.state, opened.waiting, opened.todo) == (InvocationState.OPEN, True, ())
    assert await play.store.turns.open(play.session, "i2") == opened
    await play.close("i2", StopReason.TOOL_USE)
    assert await play.kinds("i2") == [OPENED, RESULTS, HANDOVER, END]
    payloads = [event.payload for event in await play.events("i2")]
    assert payloads[1] == Results(tool_use_ids=("b",))
    assert payloads[2] == Handover(tool_use_ids=("a",))
    assert len(await play.messages()) == 2

    assert (await play.open("i3", answers(("a", "yes")))).waiting is False
    assert (await play.messages())[2] == answers(("a", "yes"), ("b", "no"))
    assert [event.payload for event in await play.events("i3")][1] == Results(tool_use_ids=("a",))


@pytest.mark.wire("inline.new-text")
async def test_new_text_while_calls_wait_is_refused_and_they_wait_on(play: Play) -> None:
    await play.ask_person("i1", inline("a"))
    assert (await play.open("i2", says("Hello?"))).state is InvocationState.REFUSED
    assert [call.id for call in await play.store.calls.pending(play.session)] == ["a"]
    assert len(await play.messages()) == 2


@pytest.mark.wire("inline.mixed")
async def test_calls_left_to_run_follow_the_answers_and_text_waits_for_them(play: Play) -> None:
    await play.ask_person("i1", inline("a"), sandbox("b"))
    opened = await play.open("i2", answers(("a", "yes"), text="Go on"))
    assert [call.id for call in opened.todo] == ["b"]
    assert await play.store.turns.open(play.session, "i2") == opened
    assert len(await play.messages()) == 2
    await play.finish("b")
    start = await play.store.turns.begin_step(play.session, "i2", 0)
    assert start.seq == 3
    settled = (await play.messages())[2]
    assert settled == answers(("a", "yes"), ("b", "b done"), text="Go on")
    assert await play.kinds("i2") == [OPENED, RESULTS, RESULTS]
    await play.commit("i2", 0, start.attempt, sandbox("c"))
    await play.finish("c")
    await play.store.turns.begin_step(play.session, "i2", 1)
    assert (await play.messages())[-1] == answers(("c", "c done"))


async def test_an_invocation_left_open_by_a_stopped_run_is_ended_by_the_next(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    start = await play.store.calls.start(play.session, "a", "boot")
    assert start.state is CallState.STARTED
    assert (await play.open("i2", says("Next"))).state is InvocationState.OPEN
    left = await play.admit("i1")
    assert (left.state, left.error) == (InvocationState.ENDED, ABANDONED)
    messages = await play.messages()
    assert unanswered(messages) == []
    assert messages[-1] == says("Next")
    assert await play.kinds("i1") == [OPENED, MESSAGE, RESULTS, END]


async def test_an_invocation_closed_before_it_began_is_refused(play: Play) -> None:
    await play.admit("i1")
    error = ErrorDetail(AwsError.THROTTLING, "Try again.")
    await play.close("i1", None, error)
    await play.close("i1", None, error)
    assert await play.kinds() == [EventKind.REFUSED]
    record = await play.admit("i1")
    assert (record.state, record.error) == (InvocationState.REFUSED, error)


async def test_only_text_of_users_is_the_last_user_text(play: Play) -> None:
    await play.open("i1", says("First"))
    await play.step("i1", 0, sandbox("a"))
    await play.finish("a")
    await play.step("i1", 1)
    found = await play.store.transcript.last_user_text(play.session, upto_seq=4)
    assert found is not None
    assert found.message.blocks == (TextBlock(text="First"),)
    assert await play.store.transcript.last_user_text(play.session, upto_seq=0) is None
