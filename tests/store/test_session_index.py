"""Listing and reading sessions, on both databases."""

from contracts.records import InvocationState
from contracts.sessions import SessionFilter, SessionStatus
from store import Store
from tests.store.play import ACCOUNT, HARNESS, Play, inline, sandbox, says


async def three_sessions(store: Store) -> list[Play]:
    idle, waiting, running = [await Play.begin(store) for _ in range(3)]
    await idle.open("i1")
    await idle.step("i1", 0, sandbox("a"), sandbox("b"))
    await idle.finish("a", "b")
    await idle.step("i1", 1)
    await idle.close("i1")
    await waiting.ask_person("i1", inline("w"))
    await running.open("i1")
    return [idle, waiting, running]


async def test_sessions_have_a_state_and_come_in_pages(store: Store):
    plays = await three_sessions(store)
    newest_first = [play.session for play in reversed(plays)]
    found: list[str] = []
    after = None
    while len(found) < 3:
        page, after = await store.sessions.list(ACCOUNT, SessionFilter(), limit=1, after=after)
        found += [one.key for one in page]
    assert (found, after) == (newest_first, None)
    for play, status in zip(
        plays, (SessionStatus.IDLE, SessionStatus.WAITING, SessionStatus.RUNNING), strict=True
    ):
        assert (await store.sessions.get(play.session)).status is status
        wanted = SessionFilter(harness_id=HARNESS, status=status)
        page, _ = await store.sessions.list(ACCOUNT, wanted, limit=9, after=None)
        assert [one.key for one in page] == [play.session]


async def test_a_turn_that_waits_for_people_below_it_waits(store: Store):
    *_, running = await three_sessions(store)
    for below, status in ((True, SessionStatus.WAITING), (False, SessionStatus.RUNNING)):
        await store.turns.waits_below(running.session, "i1", below)
        found = await store.sessions.get(running.session)
        assert (found.status, found.running) == (status, "i1")
        page, _ = await store.sessions.list(
            ACCOUNT, SessionFilter(status=status), limit=9, after=None
        )
        assert running.session in [one.key for one in page]


async def test_invocations_messages_and_calls_come_in_order(store: Store):
    play, *_ = await three_sessions(store)
    await play.admit("i2", says("later"))
    first, after = await store.sessions.invocations(play.session, limit=1, after=None)
    second, end = await store.sessions.invocations(play.session, limit=1, after=after)
    assert [one.invocation_id for one in (*first, *second)] == ["i1", "i2"]
    assert end is None
    assert await store.sessions.count(play.session, InvocationState.NEW) == 1
    entries = await store.sessions.transcript(play.session, after_seq=1, limit=2)
    assert [entry.seq for entry in entries] == [2, 3]
    calls = await store.sessions.calls(play.session, after=(2, 0), limit=9)
    assert [call.id for call in calls] == ["b"]
