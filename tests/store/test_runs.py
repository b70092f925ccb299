"""A turn as those see it who wait for its end, over all invocations that it takes."""

from contracts.errors import AwsError, ErrorDetail
from contracts.messages import StopReason, ToolStatus, ToolUseBlock
from contracts.records import NewCall
from contracts.tools import OUTPUT_TOOL, CallState, ToolKind
from tests.store.play import USAGE, Play, answers, inline, sandbox, says, unanswered


def given(name: str, value: int, failure: str | None = None) -> NewCall:
    block = ToolUseBlock(id=name, name=OUTPUT_TOOL, input={"value": value})
    outcome = None if failure else "Taken."
    return NewCall(block, ToolKind.OUTPUT, None, 0, failure, outcome)


async def test_a_turn_lives_until_it_is_closed(play: Play) -> None:
    await play.admit("i1", reply_to="parent")
    assert (await play.store.runs.get(play.session, "i1")).live == "i1"
    await play.store.turns.open(play.session, "i1")
    await play.step("i1", 0)
    assert not (await play.store.runs.get(play.session, "i1")).over
    await play.close("i1")
    run = await play.store.runs.get(play.session, "i1")
    assert run.over and run.stop_reason is StopReason.END_TURN
    assert run.message is not None and run.message.seq == 2
    assert run.usage.tokens == USAGE


async def test_a_turn_that_waits_goes_on_under_whoever_resumes_it(play: Play) -> None:
    await play.admit("i1", reply_to="parent")
    await play.ask_person("i1", inline("a"), inline("b"))
    run = await play.store.runs.get(play.session, "i1")
    assert [call.id for call in run.waiting] == ["a", "b"] and not run.over
    await play.open("i2", answers(("a", "yes")))
    await play.close("i2", StopReason.TOOL_USE)
    assert [call.id for call in (await play.store.runs.get(play.session, "i1")).waiting] == ["b"]
    await play.admit("i3", answers(("b", "yes")), reply_to="other")
    assert (await play.store.runs.get(play.session, "i1")).waiting
    await play.store.turns.open(play.session, "i3")
    assert (await play.store.runs.get(play.session, "i1")).live == "i3"
    await play.step("i3", 0)
    await play.close("i3")
    run = await play.store.runs.get(play.session, "i1")
    assert run.over and run.usage.tokens == USAGE + USAGE
    assert run.message is not None and run.message.invocation_id == "i3"
    listeners = await play.store.runs.listeners(play.session, "i3")
    assert set(listeners) == {"parent", "other"}


async def test_a_turn_that_only_waits_for_others_below_says_so_while_it_runs(play: Play) -> None:
    await play.open("i1")
    assert not (await play.store.runs.get(play.session, "i1")).below
    for waits in (True, True, False, True):
        await play.store.turns.waits_below(play.session, "i1", waits)
        assert (await play.store.runs.get(play.session, "i1")).below is waits
    await play.close("i1")
    await play.store.turns.waits_below(play.session, "i1", True)
    assert not (await play.store.runs.get(play.session, "i1")).below


async def test_the_next_turn_is_another_one(play: Play) -> None:
    await play.admit("i1", reply_to="parent")
    await play.open("i1")
    await play.step("i1", 0)
    await play.close("i1")
    await play.open("i2", says("And?"))
    assert (await play.store.runs.get(play.session, "i1")).over
    assert await play.store.runs.listeners(play.session, "i2") == ()
    assert await play.store.runs.listeners(play.session, "unknown") == ()


async def test_a_failure_and_a_refusal_are_told(play: Play) -> None:
    failure = ErrorDetail(AwsError.RUNTIME_CLIENT, "The model cannot be reached.")
    await play.open("i1")
    await play.close("i1", None, failure)
    assert (await play.store.runs.get(play.session, "i1")).error == failure
    await play.open("i2", answers(("nothing", "yes")))
    refused = (await play.store.runs.get(play.session, "i2")).error
    assert refused is not None and refused.error is AwsError.VALIDATION


async def test_a_result_is_the_last_one_that_fits(play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0, given("a", 1, failure="Error: too low"))
    await play.step("i1", 1, given("b", 2))
    await play.close("i1")
    run = await play.store.runs.get(play.session, "i1")
    assert run.output == {"value": 2}
    call = await play.store.calls.get(play.session, "b")
    assert (call.state, call.status) == (CallState.DONE, ToolStatus.SUCCESS)
    assert unanswered(await play.messages()) == []


async def test_what_waits_can_be_withdrawn(play: Play) -> None:
    await play.ask_person("i1", inline("a"), sandbox("b"))
    assert await play.store.runs.withdraw(play.session, "i1")
    assert await play.store.runs.withdraw(play.session, "i1")
    assert (await play.store.runs.get(play.session, "i1")).over
    assert await play.store.calls.pending(play.session) == ()
    assert unanswered(await play.messages()) == []
    opening = await play.open("i2", says("Something else"))
    assert opening.todo == ()


async def test_a_turn_that_runs_is_not_withdrawn(play: Play) -> None:
    await play.ask_person("i1", inline("a"))
    await play.open("i2", answers(("a", "yes")))
    assert not await play.store.runs.withdraw(play.session, "i1")
