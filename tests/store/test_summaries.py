"""Summaries on both databases."""

from contracts.messages import TokenUsage
from contracts.records import SummaryRecord
from store import Store
from tests.store.play import USAGE, Play, reply


def made(upto_seq: int, text: str = "so far", cost: int | None = 5) -> SummaryRecord:
    return SummaryRecord(upto_seq, text, TokenUsage(input_tokens=3, output_tokens=1), cost)


async def test_the_newest_that_leaves_the_last_message_is_used(store: Store, play: Play) -> None:
    await play.admit("i1")
    await store.summaries.keep(play.session, made(3, "three"))
    await store.summaries.keep(play.session, made(7, "seven\0"))
    assert await store.summaries.newest(play.session, before_seq=3) is None
    assert await store.summaries.newest(play.session, before_seq=7) == made(3, "three")
    newest = await store.summaries.newest(play.session, before_seq=8)
    assert newest == made(7, "seven\N{REPLACEMENT CHARACTER}")


async def test_the_first_summary_of_a_place_stays(store: Store, play: Play) -> None:
    await play.admit("i1")
    await store.summaries.keep(play.session, made(3, "first"))
    await store.summaries.keep(play.session, made(3, "second"))
    assert await store.summaries.newest(play.session, before_seq=9) == made(3, "first")


async def test_a_step_counts_a_summary_once(store: Store, play: Play) -> None:
    await play.open("i1")
    await store.summaries.keep(play.session, made(3, cost=None))
    await store.summaries.keep(play.session, made(4))
    assert await store.summaries.uncounted(play.session) == (made(3, cost=None), made(4))
    start = await store.turns.begin_step(play.session, "i1", 0)
    await store.turns.commit_step(
        play.session,
        "i1",
        0,
        start.attempt,
        message=reply(),
        calls=(),
        usage=USAGE,
        latency_ms=1,
        model_id="m",
        summaries=(3,),
    )
    assert await store.summaries.uncounted(play.session) == (made(4),)
