"""An invocation that is cancelled before it begins."""

from contracts.events import EventKind
from contracts.messages import StopReason
from contracts.records import InvocationState
from store import Store
from tests.store.play import Play, answers, inline, says


async def test_a_queued_invocation_is_opened_and_ended_without_its_words(play: Play, store: Store):
    await play.open("i1", says("first"))
    await play.admit("i2", says("never mind"))
    await play.close("i2", StopReason.INTERRUPTED)
    await play.close("i2", StopReason.INTERRUPTED)
    assert await play.kinds("i2") == [EventKind.OPENED, EventKind.END]
    ended = await store.turns.invocation(play.session, "i2")
    assert ended is not None
    assert (ended.state, ended.stop_reason) == (InvocationState.ENDED, StopReason.INTERRUPTED)
    # The turn that runs is not touched, and the words of the other one are not in it.
    await play.step("i1", 0)
    await play.close("i1")
    assert [message.role for message in await play.messages()] == ["user", "assistant"]


async def test_answers_of_a_cancelled_invocation_are_not_given(play: Play, store: Store):
    await play.ask_person("i1", inline("a"))
    await play.admit("i2", answers(("a", "yes")))
    await play.close("i2", StopReason.INTERRUPTED)
    assert [call.id for call in await store.calls.pending(play.session)] == ["a"]
    opening = await play.open("i3", answers(("a", "no")))
    assert opening.state is InvocationState.OPEN


async def test_opening_what_was_cancelled_before_runs_nothing(play: Play):
    await play.admit("i1", says("never mind"))
    await play.close("i1", StopReason.INTERRUPTED)
    opening = await play.open("i1", says("never mind"))
    assert opening.state is InvocationState.ENDED
    assert await play.messages() == []
