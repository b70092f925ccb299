"""Sums of tokens and money, on both databases."""

import pytest

from contracts.errors import ServiceError
from contracts.messages import TokenUsage
from contracts.usage import Usage
from store import Store
from tests.store.play import ACCOUNT, HARNESS, USAGE, Play, reply, sandbox


async def spend(play: Play, invocation_id: str, step: int, model_id: str, cost: int | None) -> None:
    start = await play.store.turns.begin_step(play.session, invocation_id, step)
    call = sandbox(f"{invocation_id}-{step}")
    await play.store.turns.commit_step(
        play.session,
        invocation_id,
        step,
        start.attempt,
        message=reply(call),
        calls=[call],
        usage=TokenUsage(input_tokens=7, output_tokens=3, cache_read_input_tokens=step),
        latency_ms=5,
        model_id=model_id,
        cost_pico_usd=cost,
    )
    await play.finish(f"{invocation_id}-{step}")


def used(calls: int, read: int, cost: int | None, unpriced: int = 0) -> Usage:
    tokens = TokenUsage(
        input_tokens=7 * calls, output_tokens=3 * calls, cache_read_input_tokens=read
    )
    return Usage(calls, tokens, cost, unpriced)


async def test_sums_by_call_invocation_session_and_harness(store: Store, play: Play) -> None:
    await play.open("i1")
    await spend(play, "i1", 0, "known", 4_000_000)
    await spend(play, "i1", 1, "known", 5_000_000)
    await spend(play, "i1", 2, "unknown", None)
    await play.close("i1")
    await play.open("i2")
    await spend(play, "i2", 0, "unknown", None)

    assert await store.usage.knows(play.session)
    models = {each.model_id: each.usage for each in await store.usage.of_session(play.session)}
    assert models == {"known": used(2, 1, 9_000_000), "unknown": used(2, 2, None, unpriced=2)}
    assert Usage.total(models.values()) == used(4, 3, 9_000_000, unpriced=2)

    (newest, oldest), end = await store.usage.invocations(play.session, limit=9)
    assert end is None
    assert (newest.invocation_id, newest.state) == ("i2", "open")
    assert newest.usage == used(1, 0, None, unpriced=1)
    assert (oldest.state, oldest.stop_reason) == ("ended", "end_turn")
    assert oldest.usage == used(3, 3, 9_000_000, unpriced=1)
    first, after = await store.usage.invocations(play.session, limit=1)
    assert first == (newest,)
    second = await store.usage.invocations(play.session, limit=1, after=after)
    assert second == ((oldest,), None)

    calls = await store.usage.calls(play.session, "i1")
    assert [(each.step, each.model_id, each.latency_ms) for each in calls] == [
        (0, "known", 5),
        (1, "known", 5),
        (2, "unknown", 5),
    ]
    assert calls[1].usage == used(1, 1, 5_000_000)
    assert calls[2].usage == used(1, 2, None, unpriced=1)

    other = await Play.begin(store)
    await other.open("i1")
    await spend(other, "i1", 0, "known", 1)
    assert {e.model_id: e.usage for e in await store.usage.of_harness(ACCOUNT, HARNESS)} == {
        "known": used(3, 1, 9_000_001),
        "unknown": used(2, 2, None, unpriced=2),
    }
    assert await store.usage.call(play.session, "i1", 1) == calls[1]
    assert await store.usage.call(play.session, "i1", 9) is None
    sessions, _ = await store.usage.sessions(ACCOUNT, HARNESS, limit=9)
    assert [each.usage for each in sessions] == [used(1, 0, 1), used(4, 3, 9_000_000, unpriced=2)]
    assert sessions[1].runtime_session_id == play.session.rpartition(":")[2]


async def test_nothing_used_costs_nothing_known(store: Store, play: Play) -> None:
    assert not await store.usage.knows(play.session)
    assert await store.usage.of_session(play.session) == ()
    await play.open("i1")
    (invocation,), _ = await store.usage.invocations(play.session, limit=9)
    assert invocation.usage == Usage()
    assert await store.usage.calls(play.session, "i1") == ()
    assert (await store.usage.sessions(ACCOUNT, "other-abcdefghij", limit=9)) == ((), None)


async def test_a_call_without_a_told_price_is_unpriced(store: Store, play: Play) -> None:
    await play.open("i1")
    await play.step("i1", 0)
    (call,) = await store.usage.calls(play.session, "i1")
    assert call.usage == Usage.of_call(USAGE, None)


async def test_pages_of_sessions_neither_repeat_nor_hide(store: Store, play: Play) -> None:
    made = [play, *[await Play.begin(store) for _ in range(4)]]
    for each in made:
        await each.open("i1")
    seen: list[str] = []
    after = None
    while True:
        page, after = await store.usage.sessions(ACCOUNT, HARNESS, limit=2, after=after)
        seen += [each.runtime_session_id for each in page]
        if after is None:
            break
        await (await Play.begin(store)).open("i1")
    assert seen == [each.session.rpartition(":")[2] for each in reversed(made)]
    with pytest.raises(ServiceError, match="nextToken"):
        await store.usage.sessions(ACCOUNT, HARNESS, limit=2, after="nonsense")
