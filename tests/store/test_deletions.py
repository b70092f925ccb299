"""Deletions in the store: every row goes, every byte goes, the receipt names nobody."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.approvals import Terms
from contracts.decisions import Gate
from contracts.deletion import DeletionKind, DeletionRecord
from contracts.errors import ConfigGone, ServiceError
from contracts.ids import session_key
from contracts.messages import TokenUsage
from contracts.records import SummaryRecord
from contracts.sessions import ForkOrder
from store import Store
from store.deletions import PAGE
from store.engine import open_database
from store.tables import metadata
from tests.store.play import ACCOUNT, HARNESS, RUN, Play, inline, piece, sandbox, says

SECRET = "the-planted-words"


async def a_full_session(store: Store, actor_id: str = "ann") -> Play:
    """A session with something in every table."""
    play = await Play.begin(store)
    run = RUN.model_copy(update={"actor_id": actor_id})
    play.config_digest = await store.configs.put(run)
    await store.turns.admit(
        session=play.session,
        account=ACCOUNT,
        harness_id=HARNESS,
        runtime_session_id=play.session.rpartition(":")[2],
        invocation_id="i0",
        request_digest="d",
        config_digest=play.config_digest,
        messages=(says(SECRET),),
        actor_id=actor_id,
    )
    await store.turns.open(play.session, "i0")
    start = await store.turns.begin_step(play.session, "i0", 0)
    words = piece(SECRET * 50)
    await store.turns.append(play.session, "i0", 0, start.attempt, 0, words)
    await play.commit("i0", 0, start.attempt, sandbox("a"))
    await play.finish("a")
    await store.turns.note_failure(play.session, "i0", SECRET)
    await store.summaries.keep(play.session, SummaryRecord(1, SECRET, TokenUsage(), None))
    await play.close("i0")
    await play.ask_person("i1", inline("w"))
    return play


async def delete(store: Store, order: DeletionRecord) -> DeletionRecord:
    while await store.deletions.delete_rows(order.id, limit=2):
        pass
    await store.deletions.complete(order.id)
    assert await store.deletions.overwrite()
    return await store.deletions.get(ACCOUNT, order.id)


async def cells_with(url: str, words: str) -> list[str]:
    """Columns of any table in which some row has these words."""

    def look(connection: Connection) -> list[str]:
        found: list[str] = []
        for table in metadata.sorted_tables:
            for row in connection.execute(sa.select(table)).mappings():
                found += [
                    f"{table.name}.{name}" for name, cell in row.items() if words in str(cell)
                ]
        return found

    database = open_database(url)
    try:
        return await database.read(look)
    finally:
        await database.close()


async def test_every_row_goes_and_the_receipt_counts_them(store: Store, url: str):
    play, other = await a_full_session(store), await a_full_session(store, "bob")
    assert len({cell.partition(".")[0] for cell in await cells_with(url, play.session)}) >= 6
    order = await store.deletions.begin_session(ACCOUNT, play.session, requested_by="KEY")
    again = await store.deletions.begin_session(ACCOUNT, play.session, requested_by="OTHER")
    assert again == order
    receipt = await delete(store, order)
    assert await cells_with(url, play.session) == []
    assert await cells_with(url, "ann") == []
    assert receipt.completed_at is not None
    assert receipt.digest == hashlib.sha256(play.session.encode()).hexdigest()
    assert receipt.requested_by == "KEY"
    expected = {"invocation": 2, "message": 5, "call": 2, "summary": 1, "session": 1}
    assert receipt.counts.items() >= {**expected, "run_config": 1}.items()
    assert len(await other.messages()) == 5


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_no_byte_stays_in_the_file(store: Store, url: str):
    path = Path(url.partition(":///")[2])
    plays = [await a_full_session(store) for _ in range(5)]
    files = [path, path.with_name(f"{path.name}-wal")]
    assert any(SECRET.encode() in file.read_bytes() for file in files)
    for play in plays:
        await delete(
            store, await store.deletions.begin_session(ACCOUNT, play.session, requested_by="K")
        )
    for file in files:
        if file.exists():
            assert SECRET.encode() not in file.read_bytes(), file
            for play in plays:
                assert play.session.encode() not in file.read_bytes(), file


async def test_nothing_comes_into_a_session_that_is_deleted(store: Store):
    play = await a_full_session(store)
    order = await store.deletions.begin_session(ACCOUNT, play.session, requested_by="K")
    with pytest.raises(ServiceError, match="being deleted"):
        await play.admit("i9")
    with pytest.raises(ServiceError, match="being deleted"):
        await store.forks.fork(fork_of(play, "f"))
    await delete(store, order)
    with pytest.raises(ServiceError, match="does not exist"):
        await store.deletions.begin_session(ACCOUNT, play.session, requested_by="K")
    with pytest.raises(ConfigGone):
        await play.admit("i9")
    play.config_digest = await store.configs.put(RUN)
    await play.open("i9")
    assert len(await play.messages()) == 1, "the name is free for a new session"


def fork_of(play: Play, name: str) -> ForkOrder:
    key = session_key(ACCOUNT, HARNESS, name)
    return ForkOrder(play.session, key, ACCOUNT, HARNESS, name, None, name)


async def test_a_fork_outlives_its_origin_and_does_not_name_it(store: Store, url: str):
    play = await a_full_session(store)
    key = await store.forks.fork(fork_of(play, "f"))
    order = await store.deletions.begin_session(ACCOUNT, play.session, requested_by="K")
    await delete(store, order)
    assert await cells_with(url, play.session) == []
    assert len(await store.transcript.window(key, upto_seq=99, limit=None)) == 4
    record = await store.sessions.get(key)
    assert (record.forked_from, record.forked_seq) == (None, 4)


async def test_an_actor_takes_along_every_session_and_every_fork(store: Store, url: str):
    began, joined, others = [await a_full_session(store, who) for who in ("ann", "bob", "cid")]
    await store.turns.admit(
        session=joined.session,
        account=ACCOUNT,
        harness_id=HARNESS,
        runtime_session_id="x",
        invocation_id="i7",
        request_digest="d",
        config_digest=began.config_digest,
        messages=(says("Hi"),),
        actor_id="ann",
    )
    fork = Play(store, await store.forks.fork(fork_of(joined, "f")), began.config_digest)
    await store.forks.fork(fork_of(fork, "g"))
    order = await store.deletions.begin_actor(ACCOUNT, "ann", requested_by="K")
    assert order.kind is DeletionKind.ACTOR
    gone = 0
    while claimed := await store.deletions.claim_sessions(order.id):
        for id_ in claimed:
            await delete(store, await store.deletions.get(ACCOUNT, id_))
            gone += 1
    await store.deletions.complete(order.id)
    assert gone == 4
    for name in (began.session, joined.session, ":f", ":g", "ann"):
        assert await cells_with(url, name) == [], name
    assert len(await others.messages()) == 5


async def called(caller: Play, name: str) -> Play:
    """The session of an agent that a session called."""
    play = await a_full_session(caller.store)
    child = Play(caller.store, session_key(ACCOUNT, HARNESS, name), play.config_digest)
    await caller.store.turns.admit(
        session=child.session,
        account=ACCOUNT,
        harness_id=HARNESS,
        runtime_session_id=name,
        invocation_id="run",
        request_digest="d",
        config_digest=child.config_digest,
        messages=(says(SECRET),),
        reply_to=f"{caller.session}/agent/call",
        called_from=caller.session,
    )
    await child.store.turns.open(child.session, "run")
    await child.close("run")
    return child


async def test_sessions_of_agents_go_with_their_caller_and_its_receipt_tells(
    store: Store, url: str
):
    play = await a_full_session(store)
    children = [await called(play, name) for name in ("agent-a", "agent-b")]
    grandchild = await called(children[0], "agent-c")
    # Somebody went on with one, and somebody deletes another one by itself.
    await children[0].open("i5", says("And?"))
    await children[0].close("i5")
    begun = await store.deletions.begin_session(ACCOUNT, children[1].session, requested_by="OTHER")
    order = await store.deletions.begin_session(ACCOUNT, play.session, requested_by="KEY")
    with pytest.raises(ServiceError, match="calling session is deleted"):
        await called(play, "agent-d")
    claimed = await store.deletions.claim_agents(order.id)
    assert claimed == await store.deletions.claim_agents(order.id)
    assert len(claimed) == 2 and begun.id in claimed
    for id_ in claimed:
        for below in await store.deletions.claim_agents(id_):
            await delete(store, await store.deletions.get(ACCOUNT, below))
        assert await store.deletions.keep_executions(id_) == (f"{play.session}/agent/call",)
        await delete(store, await store.deletions.get(ACCOUNT, id_))
        assert await store.deletions.executions(id_) == ()
    assert await store.deletions.claim_agents(order.id) == ()
    receipt = await delete(store, order)
    assert set(receipt.agents) == set(claimed)
    assert receipt.counts["agent_sessions"] == 2
    for each in (play, *children, grandchild):
        assert await cells_with(url, each.session) == []


async def test_a_session_does_not_expire_while_an_agent_below_is_in_use(store: Store):
    play = await a_full_session(store)
    child = await called(play, "agent-a")
    grandchild = await called(child, "agent-b")
    await grandchild.open("i5", says("And?"))
    later = datetime.now(UTC) + timedelta(days=1)
    await store.deletions.expire(ACCOUNT, before=later)
    subjects = {await store.deletions.subject(id_) for id_, _ in await store.deletions.left_open()}
    assert not subjects & {play.session, child.session, grandchild.session}
    await grandchild.close("i5")
    await store.deletions.expire(ACCOUNT, before=later)
    subjects = {await store.deletions.subject(id_) for id_, _ in await store.deletions.left_open()}
    assert subjects >= {play.session, child.session, grandchild.session}


async def test_only_what_nobody_used_for_long_expires(store: Store):
    idle, waiting, running, queued = [await Play.begin(store) for _ in range(4)]
    await idle.open("i1")
    await idle.close("i1")
    await waiting.ask_person("i1", inline("w"))
    await running.open("i1")
    await queued.admit("i1")
    now = datetime.now(UTC)
    await store.deletions.expire(ACCOUNT, before=now - timedelta(days=1))
    assert await store.deletions.left_open() == ()
    await store.deletions.expire(ACCOUNT, before=now + timedelta(days=1))
    await store.deletions.expire(ACCOUNT, before=now + timedelta(days=1))
    subjects = {await store.deletions.subject(id_) for id_, _ in await store.deletions.left_open()}
    assert subjects == {idle.session, waiting.session}
    opened = [id_ for id_, _ in await store.deletions.left_open()]
    for id_ in opened:
        await delete(store, await store.deletions.get(ACCOUNT, id_))
    await store.deletions.forget_receipts(before=now + timedelta(days=1))
    with pytest.raises(ServiceError, match="no deletion"):
        await store.deletions.get(ACCOUNT, opened[0])


async def test_what_people_have_time_for_does_not_expire_nor_what_is_above_it(store: Store):
    play = await a_full_session(store)
    child = await called(play, "agent-a")
    gate = Gate(terms=Terms(deadline_seconds=1), namespace="builtin")
    await child.ask_person("i5", replace(sandbox("risky"), gate=gate))
    due = (await store.decisions.standing(child.session)).due_s
    assert due is not None
    later = datetime.now(UTC) + timedelta(days=1)

    async def expired() -> set[str | None]:
        await store.deletions.expire(ACCOUNT, before=later)
        return {await store.deletions.subject(id_) for id_, _ in await store.deletions.left_open()}

    if datetime.now(UTC).timestamp() < due - 0.5:
        assert not await expired() & {play.session, child.session}
    await asyncio.sleep(max(0.0, due - datetime.now(UTC).timestamp()) + 0.01)
    assert await expired() >= {play.session, child.session}


async def test_open_deletions_come_in_pages_behind_those_that_take_long(store: Store):
    for number in range(PAGE + 5):
        await store.deletions.begin_actor(ACCOUNT, f"actor-{number}", requested_by="K")
    first = await store.deletions.left_open()
    second = await store.deletions.left_open(first[-1][0])
    assert (len(first), len(second)) == (PAGE, 5)
    assert not set(first) & set(second)
    assert await store.deletions.left_open(second[-1][0]) == ()
