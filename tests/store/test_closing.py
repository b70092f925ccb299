import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from contracts.errors import AwsError, ErrorDetail
from contracts.events import Ended, EventKind
from contracts.messages import StopReason, ToolResultBlock, ToolStatus
from contracts.records import InvocationState
from contracts.tools import CallState
from tests.store.play import Play, answers, inline, piece, sandbox, says, unanswered

OPENED, MESSAGE, RESULTS, END = (
    EventKind.OPENED,
    EventKind.MESSAGE,
    EventKind.RESULTS,
    EventKind.END,
)
FAILURE = ErrorDetail(AwsError.RUNTIME_CLIENT, "The model cannot be reached.")

Step = Callable[[Play], Awaitable[object]]

#: A turn with everything in it, one transaction after the other.
SCRIPT: Sequence[Step] = (
    lambda play: play.admit("i1"),
    lambda play: play.store.turns.open(play.session, "i1"),
    lambda play: play.store.turns.begin_step(play.session, "i1", 0),
    lambda play: play.store.turns.append(play.session, "i1", 0, 1, 0, piece("Su")),
    lambda play: play.commit("i1", 0, 1, sandbox("a"), sandbox("b", failure="Unknown.")),
    lambda play: play.store.calls.start(play.session, "a", "boot"),
    lambda play: play.finish("a"),
    lambda play: play.store.turns.begin_step(play.session, "i1", 1),
    lambda play: play.commit("i1", 1, 1, sandbox("c"), inline("d"), inline("e")),
    lambda play: play.finish("c"),
    lambda play: play.store.turns.hand_over(play.session, "i1"),
    lambda play: play.close("i1", StopReason.TOOL_USE),
    lambda play: play.admit("i2", answers(("d", "yes"))),
    lambda play: play.store.turns.open(play.session, "i2"),
    lambda play: play.close("i2", StopReason.TOOL_USE),
    lambda play: play.admit("i3", answers(("e", "no"), text="And?")),
    lambda play: play.store.turns.open(play.session, "i3"),
    lambda play: play.store.turns.begin_step(play.session, "i3", 0),
    lambda play: play.commit("i3", 0, 1),
    lambda play: play.close("i3"),
)


@pytest.mark.parametrize("done", range(2, len(SCRIPT)))
@pytest.mark.parametrize(
    ("stop_reason", "error"), [(StopReason.TIMEOUT_EXCEEDED, None), (None, FAILURE)]
)
async def test_whenever_a_turn_is_cut_the_next_one_finds_a_valid_transcript(
    play: Play, done: int, stop_reason: StopReason | None, error: ErrorDetail | None
) -> None:
    for step in SCRIPT[:done]:
        await step(play)
    for invocation_id in ("i1", "i2", "i3"):
        record = await play.store.turns.invocation(play.session, invocation_id)
        if record is not None:
            await play.close(invocation_id, stop_reason, error)
            await play.close(invocation_id, stop_reason, error)
            assert (await play.kinds(invocation_id)).count(END) <= 1
    waiting = await play.store.calls.pending(play.session)
    told = says("Next") if not waiting else answers(*((call.id, "yes") for call in waiting))
    opened = await play.open("last", told)
    assert opened.state is InvocationState.OPEN
    assert unanswered(await play.messages()) == []
    assert EventKind.DELTA not in await play.kinds()


async def test_repeating_every_transaction_changes_nothing(play: Play) -> None:
    repeated = await Play.begin(play.store)
    for step in SCRIPT:
        await step(play)
        await step(repeated)
        # Beginning a step again fences the first beginning, as it must.
        if step not in (SCRIPT[2], SCRIPT[7], SCRIPT[17]):
            await step(repeated)
    assert await repeated.messages() == await play.messages()
    assert [event.payload for event in await repeated.events()] == [
        event.payload for event in await play.events()
    ]
    for invocation_id in ("i1", "i2", "i3"):
        first = await play.admit(invocation_id)
        second = await repeated.admit(invocation_id)
        assert first.usage == second.usage
        assert (second.state, second.stop_reason) == (first.state, first.stop_reason)


async def test_calls_cut_short_get_an_error_as_their_result(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"), sandbox("b"), inline("c"))
    await play.finish("a")
    await play.store.calls.start(play.session, "b", "boot")
    await play.close("i1", StopReason.TIMEOUT_EXCEEDED)
    results = [block for block in (await play.messages())[2].blocks if block.type == "tool_result"]
    assert [(block.tool_use_id, block.status) for block in results] == [
        ("a", ToolStatus.SUCCESS),
        ("b", ToolStatus.ERROR),
        ("c", ToolStatus.ERROR),
    ]
    assert results[1].content == (
        "The call was cut short: timeout_exceeded. It may have had a partial effect.",
    )
    assert await play.kinds() == [OPENED, MESSAGE, RESULTS, END]
    late = await play.store.calls.finish(
        play.session, "b", status=ToolStatus.SUCCESS, content=["late"]
    )
    assert late.content == results[1].content


async def test_a_failed_turn_says_so_and_keeps_what_it_used(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    await play.close("i1", None, FAILURE)
    await play.close("i1", StopReason.END_TURN)
    assert (await play.events())[-1].payload == Ended(
        error=AwsError.RUNTIME_CLIENT, message=FAILURE.message
    )
    record = await play.admit("i1")
    assert (record.state, record.stop_reason, record.error) == (
        InvocationState.ENDED,
        None,
        FAILURE,
    )
    assert record.usage.total_tokens == 10
    result = (await play.messages())[2].blocks[0]
    assert isinstance(result, ToolResultBlock)
    assert "RuntimeClientError" in result.content[0]


async def test_a_turn_that_waits_for_nobody_leaves_no_call_open(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    await play.close("i1", StopReason.TOOL_USE)
    assert unanswered(await play.messages()) == []


async def test_a_turn_that_waits_lets_calls_of_the_caller_wait(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, inline("a"), sandbox("b"))
    await play.close("i1", StopReason.TOOL_USE)
    assert [call.id for call in await play.store.calls.pending(play.session)] == ["a"]
    assert (await play.store.calls.get(play.session, "b")).state is CallState.REQUESTED


async def test_closing_one_invocation_leaves_another_alone(play: Play) -> None:
    await play.ask_person("i1", inline("a"))
    await play.admit("i2", answers(("a", "yes")))
    await play.close("i2", None, FAILURE)
    assert [call.id for call in await play.store.calls.pending(play.session)] == ["a"]
    assert await play.kinds("i2") == [EventKind.REFUSED]


async def test_a_call_that_still_runs_when_the_turn_hands_over_is_cut_short(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, inline("a"), sandbox("b"))
    await play.store.calls.start(play.session, "b", "boot")
    await play.close("i1", StopReason.TOOL_USE)
    assert (await play.store.calls.get(play.session, "b")).status is ToolStatus.ERROR
    assert (await play.open("i2", answers(("a", "yes")))).todo == ()
    assert unanswered(await play.messages()) == []


async def test_closing_at_once_from_many_sides_ends_the_invocation_once(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    await asyncio.gather(*(play.close("i1", StopReason.TIMEOUT_EXCEEDED) for _ in range(6)))
    assert await play.kinds() == [OPENED, MESSAGE, RESULTS, END]
    assert len(await play.messages()) == 3
