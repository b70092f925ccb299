"""What counts against a budget, on both databases."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.budget import Budget
from contracts.decisions import DecisionRecord, DecisionStatus, NewVote, VerdictKind
from contracts.errors import StaleAttempt
from contracts.messages import StopReason, TokenUsage
from contracts.records import InvocationState, SummaryRecord
from contracts.sessions import SessionStatus
from store import Store
from tests.store.play import Play, says
from tests.store.test_decisions import ADA, opened, says_yes, send
from tests.store.test_usage import spend


def stops(**limits: float) -> Budget:
    return Budget.model_validate({**limits, "atLimit": "stop"})


async def met(play: Play, budget: Budget) -> bool:
    found = await play.store.budgets.meet(play.session, "i1", 9, budget)
    assert found in (None, StopReason.MAX_OUTPUT_TOKENS_EXCEEDED)
    return found is not None


async def pause(play: Play, **limits: Any) -> DecisionRecord:
    """The turn of `i1` meets a limit and ends; the decision about more."""
    budget = Budget.model_validate(limits)
    for _ in range(2):
        assert await play.store.budgets.meet(play.session, "i1", 2, budget) == "partial_turn"
    (found,) = await opened(play)
    await play.close("i1", StopReason.PARTIAL_TURN)
    return found


async def resume(play: Play) -> InvocationState:
    owed = (await play.store.decisions.standing(play.session)).resume
    assert owed is not None
    return (await play.store.turns.open(play.session, owed.invocation_id)).state


@pytest.fixture
async def spent(play: Play, store: Store) -> Play:
    """A session of two calls: 21 tokens, one of them read from a cache, and nine millionths."""
    await play.open("i1")
    await spend(play, "i1", 0, "known", 4_000_000)
    await spend(play, "i1", 1, "known", 5_000_000)
    # A model call begins when results are settled; only then a limit is looked at.
    await store.turns.begin_step(play.session, "i1", 2)
    return play


async def test_a_session_has_met_a_limit_when_it_used_all_of_it(spent: Play, store: Store) -> None:
    for limits, expected in [
        ({"tokensPerSession": 21}, True),
        ({"tokensPerSession": 22}, False),
        ({"usdPerSession": 0.000009}, True),
        ({"usdPerSession": 0.0000091}, False),
        ({"usdPerSession": 1, "tokensPerSession": 20}, True),
    ]:
        assert await met(spent, stops(**limits)) is expected, limits


async def test_a_harness_has_what_its_sessions_used_and_no_other_has(
    spent: Play, store: Store
) -> None:
    sibling = await Play.begin(store)
    await sibling.open("i1")
    other = await Play.begin(store, "other-abcdefghij")
    await other.open("i1")
    limits = stops(tokensPerHarness=21)
    assert await met(sibling, limits)
    assert not await met(sibling, stops(usdPerHarness=0.00001))
    assert not await met(sibling, stops(tokensPerSession=1))
    assert not await met(other, limits)


async def test_calls_without_a_price_count_as_tokens_only(play: Play, store: Store) -> None:
    await play.open("i1")
    await spend(play, "i1", 0, "unknown", None)
    assert not await met(play, stops(usdPerSession=0.000001))
    assert await met(play, stops(tokensPerSession=10))


async def test_a_summary_counts_before_the_call_that_it_was_made_for_is_settled(
    spent: Play, store: Store
) -> None:
    made = SummaryRecord(1, "short", TokenUsage(input_tokens=79), 1_000_000)
    await store.summaries.keep(spent.session, made)
    for limits in (
        {"tokensPerSession": 100},
        {"tokensPerHarness": 100},
        {"usdPerSession": 0.00001},
    ):
        assert await met(spent, stops(**limits)), limits
    assert not await met(spent, stops(tokensPerSession=101))


async def test_more_is_asked_for_once_and_lets_the_turn_go_on(spent: Play, store: Store) -> None:
    asked = await pause(spent, tokensPerSession=20, usdPerHarness=0.000009)
    assert (asked.tool, asked.arguments) == ("budget", {"addTokens": 21, "addUsd": 0.000009})
    assert asked.gate.rule == (
        "usdPerHarness: 0.000009 of 0.000009 dollars used; tokensPerSession: 21 of 20 tokens used"
    )
    assert (await store.decisions.standing(spent.session)).waiting
    assert (await store.sessions.get(spent.session)).status is SessionStatus.WAITING
    run = await store.runs.get(spent.session, "i1")
    assert (run.over, run.paused) == (False, True)
    edit = {"addTokens": 2, "addUsd": 0.5}
    after = await send(spent, asked, says_yes(asked, arguments=edit), ADA)
    assert (after.status, after.arguments) == (DecisionStatus.APPROVED, edit)
    assert (await store.runs.get(spent.session, "i1")).live == f"decided-{asked.id}"
    assert await resume(spent) is InvocationState.OPEN
    line = await store.runs.get(spent.session, "i1")
    assert line.live == f"decided-{asked.id}"
    assert not await met_by(spent, f"decided-{asked.id}", 22, "stop")
    assert not await met_by(spent, f"decided-{asked.id}", 20, "ask")
    assert await met_by(spent, f"decided-{asked.id}", 19, "ask")


async def test_who_is_refused_more_ends_interrupted(spent: Play, store: Store) -> None:
    asked = await pause(spent, tokensPerSession=20)
    no = NewVote("no", asked.digest, VerdictKind.REJECT)
    assert (await send(spent, asked, no, ADA)).status is DecisionStatus.REJECTED
    assert await resume(spent) is InvocationState.ENDED
    run = await store.runs.get(spent.session, "i1")
    assert (run.over, run.stop_reason) == (True, StopReason.INTERRUPTED)
    assert (await spent.open("i2")).state is InvocationState.OPEN


async def test_words_wait_for_the_decision_and_for_the_turn_it_resumes(spent: Play) -> None:
    asked = await pause(spent, tokensPerSession=20)
    assert (await spent.open("i2", says("more"))).state is InvocationState.REFUSED
    await send(spent, asked, says_yes(asked), ADA)
    assert (await spent.open("i3", says("more"))).state is InvocationState.REFUSED
    record = await spent.store.turns.invocation(spent.session, "i3")
    assert record is not None and record.error is not None and asked.id in record.error.message


async def test_a_turn_that_ends_otherwise_withdraws_what_it_asked_for(
    spent: Play, store: Store
) -> None:
    budget = Budget(tokens_per_session=20)
    assert await store.budgets.meet(spent.session, "i1", 2, budget) is StopReason.PARTIAL_TURN
    await spent.close("i1", StopReason.INTERRUPTED)
    assert await opened(spent) == []
    with pytest.raises(StaleAttempt):
        await store.budgets.meet(spent.session, "i1", 2, budget)


async def test_a_turn_that_went_on_by_itself_is_not_resumed(spent: Play, store: Store) -> None:
    budget = Budget(tokens_per_session=20)
    await store.budgets.meet(spent.session, "i1", 2, budget)
    (asked,) = await opened(spent)
    await send(spent, asked, says_yes(asked), ADA)
    assert await store.budgets.meet(spent.session, "i1", 2, budget) is None
    await spent.close("i1", StopReason.END_TURN)
    assert await resume(spent) is InvocationState.REFUSED


async def met_by(play: Play, invocation_id: str, tokens: int, at_limit: str) -> bool:
    budget = Budget.model_validate({"tokensPerSession": tokens, "atLimit": at_limit})
    return await play.store.budgets.meet(play.session, invocation_id, 0, budget) is not None


@pytest.mark.parametrize(
    "given, fault",
    [
        ({"atLimit": "stop"}, "must have usdPerSession"),
        ({"usdPerSession": 1, "atLimit": "stop", "required": 2}, "required"),
        ({"usdPerSession": 1, "onTimeout": "approve"}, "deadlineSeconds"),
        ({"usdPerSession": 0, "atLimit": "stop"}, "greater than 0"),
        ({"usdPerSession": float("nan"), "atLimit": "stop"}, "finite"),
        ({"tokensPerHarness": 1.5, "atLimit": "stop"}, "tokensPerHarness"),
        ({"usdPerDay": 1, "usdPerSession": 1, "atLimit": "stop"}, "usdPerDay"),
    ],
)
def test_what_is_no_budget_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Budget.model_validate(given)
