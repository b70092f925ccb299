import asyncio
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import aclosing
from pathlib import Path

import pytest

from contracts.events import Delta, Event, EventKind
from contracts.messages import StopReason
from store import Store
from store.bounds import MAX_PAGE_EVENTS
from store.log_sqlite import SqliteBells
from tests.store.admin import administer
from tests.store.play import Play, piece

ROOT = Path(__file__).parents[2]
#: Far beyond what any wake-up takes, and below it no heartbeat hides a missed one.
DEADLINE_S = 20.0


async def collect(store: Store, session: str, count: int, after: int = 0) -> list[Event]:
    """The next `count` rows as a follower sees them, with heartbeats too slow to help."""
    seen: list[Event] = []
    async with (
        asyncio.timeout(DEADLINE_S),
        aclosing(store.log.follow(session, after=after, heartbeat_s=60)) as batches,
    ):
        async for batch in batches:
            seen += batch
            if len(seen) >= count:
                break
    return seen


async def test_reading_pages_through_the_log(play: Play) -> None:
    await play.open("i1")
    await play.store.turns.begin_step(play.session, "i1", 0)
    for index in range(5):
        await play.store.turns.append(play.session, "i1", 0, 1, index, piece(str(index)))
    first = await play.store.log.read(play.session, after=0, limit=4)
    rest = await play.store.log.read(play.session, after=first[-1].cursor, limit=10**9)
    assert [*first, *rest] == list(await play.events())
    assert [event.index for event in [*first, *rest]] == [0, 0, 1, 2, 3, 4]
    assert MAX_PAGE_EVENTS >= 500


async def test_a_reader_of_one_invocation_sees_no_other(play: Play) -> None:
    for name in ("i1", "i2"):
        await play.open(name)
        await play.step(name, 0)
        await play.close(name)
    rows = await play.events("i2")
    assert {event.invocation_id for event in rows} == {"i2"}
    assert [event.payload.kind for event in rows] == [
        EventKind.OPENED,
        EventKind.MESSAGE,
        EventKind.END,
    ]
    record = await play.admit("i2")
    assert record.first_cursor == rows[0].cursor


async def test_following_begins_before_the_session_exists(play: Play) -> None:
    following = asyncio.create_task(collect(play.store, play.session, 1))
    await asyncio.sleep(0)
    await play.open("i1")
    (event,) = await following
    assert event.payload.kind is EventKind.OPENED


async def test_following_wakes_for_another_process_and_sees_every_row_once(
    play: Play, url: str
) -> None:
    await play.open("i1")
    start = await play.store.turns.begin_step(play.session, "i1", 0)
    count = 30
    arrivals: dict[int, float] = {}
    seen: list[Event] = []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.store.writer"),
        *(url, play.session, "i1", str(start.attempt), "0", str(count)),
        cwd=ROOT,
        stdout=PIPE,
    )
    async with (
        asyncio.timeout(DEADLINE_S),
        aclosing(play.store.log.follow(play.session, after=1, heartbeat_s=60)) as batches,
    ):
        async for batch in batches:
            seen += batch
            arrivals |= {event.index: time.time() for event in batch}
            if len(seen) == count:
                break
    output, _ = await process.communicate()
    commits = [float(line) for line in output.split()]
    assert [event.index for event in seen] == list(range(count))
    assert [event.cursor for event in seen] == sorted({event.cursor for event in seen})
    delays = [arrivals[index] - commits[index] for index in range(count)]
    assert statistics.median(delays) < 0.05


async def test_cursors_ascend_in_commit_order_under_concurrent_writers(
    play: Play, url: str
) -> None:
    """Writers of two processes and many tasks; a follower misses nothing and sees nothing twice."""
    await play.open("i1")
    per_task, tasks = 10, 8
    start = await play.store.turns.begin_step(play.session, "i1", 0)

    async def write(task: int) -> None:
        store = await Store.open(url)
        for number in range(per_task):
            await store.turns.append(
                play.session, "i1", 0, start.attempt, task * per_task + number, piece("x")
            )
        await store.close()

    count = per_task * tasks + 20
    following = asyncio.create_task(collect(play.store, play.session, count, after=1))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.store.writer"),
        *(url, play.session, "i1", str(start.attempt), str(per_task * tasks), "20"),
        cwd=ROOT,
        stdout=PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await asyncio.gather(*(write(task) for task in range(tasks)))
    seen = await following
    await process.communicate()
    assert process.returncode == 0
    assert sorted(event.index for event in seen) == list(range(count))
    assert [event.cursor for event in seen] == list(range(2, 2 + count))
    assert await play.store.log.read(play.session, after=1) == tuple(seen)


async def test_silence_brings_heartbeats_even_while_other_invocations_talk(play: Play) -> None:
    await play.open("i1")
    await play.store.turns.begin_step(play.session, "i1", 0)

    async def talk() -> None:
        for index in range(10**6):
            await play.store.turns.append(play.session, "i1", 0, 1, index, piece("x"))

    talking = asyncio.create_task(talk())
    async with (
        asyncio.timeout(DEADLINE_S),
        aclosing(
            play.store.log.follow(play.session, after=0, invocation_id="i2", heartbeat_s=0.05)
        ) as batches,
    ):
        assert await anext(batches) == ()
        assert await anext(batches) == ()
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)


async def test_a_writer_that_is_cancelled_leaves_the_store_usable(play: Play) -> None:
    await play.open("i1")
    await play.store.turns.begin_step(play.session, "i1", 0)
    for index in range(60):
        writing = asyncio.create_task(
            play.store.turns.append(play.session, "i1", 0, 1, index, piece("x"))
        )
        # A little later each time, so that every statement is hit by some cancellation.
        await asyncio.sleep(index / 50_000)
        writing.cancel()
        (outcome,) = await asyncio.gather(writing, return_exceptions=True)
        assert outcome is None or isinstance(outcome, asyncio.CancelledError)
    await play.store.turns.append(play.session, "i1", 0, 1, 99, piece("last"))
    rows = [event for event in await play.events() if isinstance(event.payload, Delta)]
    assert rows[-1].index == 99
    assert [row.cursor for row in rows] == sorted({row.cursor for row in rows})


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_following_outlives_the_connection_that_listens(play: Play, url: str) -> None:
    await play.open("i1")
    following = asyncio.create_task(collect(play.store, play.session, 2))
    listeners = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    async with asyncio.timeout(DEADLINE_S):
        while not await administer(url, f"SELECT count(*) {listeners}"):
            await asyncio.sleep(0.01)
    assert await administer(url, f"SELECT pg_terminate_backend(pid) {listeners}")
    await play.close("i1", StopReason.END_TURN)
    assert [event.payload.kind for event in await following] == [EventKind.OPENED, EventKind.END]


async def test_nobody_polls_when_nobody_follows(sqlite_template: Path) -> None:
    bells = SqliteBells(sqlite_template)
    async with bells.hung("session:a"), bells.hung("session:a"):
        assert bells.polling
    async with asyncio.timeout(DEADLINE_S):
        while bells.polling:
            await asyncio.sleep(0)
    async with bells.hung("session:b"):
        assert bells.polling
    await bells.close()
