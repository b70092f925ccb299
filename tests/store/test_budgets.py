"""What counts against a budget, on both databases."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.budget import Budget
from contracts.messages import TokenUsage
from contracts.records import SummaryRecord
from store import Store
from tests.store.play import Play
from tests.store.test_usage import spend


def stops(**limits: float) -> Budget:
    return Budget.model_validate({**limits, "atLimit": "stop"})


@pytest.fixture
async def spent(play: Play) -> Play:
    """A session of two calls: 21 tokens, one of them read from a cache, and nine millionths."""
    await play.open("i1")
    await spend(play, "i1", 0, "known", 4_000_000)
    await spend(play, "i1", 1, "known", 5_000_000)
    return play


async def test_a_session_has_met_a_limit_when_it_used_all_of_it(spent: Play, store: Store) -> None:
    for limits, met in [
        ({"tokensPerSession": 21}, True),
        ({"tokensPerSession": 22}, False),
        ({"usdPerSession": 0.000009}, True),
        ({"usdPerSession": 0.0000091}, False),
        ({"usdPerSession": 1, "tokensPerSession": 20}, True),
    ]:
        assert await store.budgets.spent(spent.session, stops(**limits)) is met, limits


async def test_a_harness_has_what_its_sessions_used_and_no_other_has(
    spent: Play, store: Store
) -> None:
    sibling = await Play.begin(store)
    await sibling.open("i1")
    other = await Play.begin(store, "other-abcdefghij")
    await other.open("i1")
    limits = stops(tokensPerHarness=21)
    assert await store.budgets.spent(sibling.session, limits)
    assert not await store.budgets.spent(sibling.session, stops(usdPerHarness=0.00001))
    assert not await store.budgets.spent(sibling.session, stops(tokensPerSession=1))
    assert not await store.budgets.spent(other.session, limits)


async def test_calls_without_a_price_count_as_tokens_only(play: Play, store: Store) -> None:
    await play.open("i1")
    await spend(play, "i1", 0, "unknown", None)
    assert not await store.budgets.spent(play.session, stops(usdPerSession=0.000001))
    assert await store.budgets.spent(play.session, stops(tokensPerSession=10))


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
        assert await store.budgets.spent(spent.session, stops(**limits)), limits
    assert not await store.budgets.spent(spent.session, stops(tokensPerSession=101))


@pytest.mark.parametrize(
    "given, fault",
    [
        ({"atLimit": "stop"}, "must have usdPerSession"),
        ({"usdPerSession": 1}, "atLimit"),
        ({"usdPerSession": 0, "atLimit": "stop"}, "greater than 0"),
        ({"usdPerSession": float("nan"), "atLimit": "stop"}, "finite"),
        ({"tokensPerHarness": 1.5, "atLimit": "stop"}, "tokensPerHarness"),
        ({"usdPerDay": 1, "usdPerSession": 1, "atLimit": "stop"}, "usdPerDay"),
    ],
)
def test_what_is_no_budget_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Budget.model_validate(given)
