"""Forks: what they take along, where they may be cut, and what they leave alone."""

import pytest

from contracts.environment import EnvironmentState, HostVolumes
from contracts.errors import ServiceError
from contracts.harness import LiteLlmModel, ModelConfig
from contracts.ids import session_key
from contracts.messages import (
    Message,
    Origin,
    ReasoningBlock,
    StopReason,
    TextBlock,
    TokenUsage,
)
from contracts.records import SummaryRecord
from contracts.sessions import ForkFiles, ForkOrder, SessionDefaults, SessionStatus
from store import Store
from tests.store.play import ACCOUNT, HARNESS, USAGE, Play, inline, sandbox, unanswered

NEW = session_key(ACCOUNT, HARNESS, "fork")


def order(play: Play, **changes: object) -> ForkOrder:
    made = {
        "origin": play.session,
        "key": NEW,
        "account": ACCOUNT,
        "harness_id": HARNESS,
        "runtime_session_id": "fork",
        "from_seq": None,
        "digest": "d",
    }
    return ForkOrder(**{**made, **changes})  # type: ignore[arg-type]


async def talk(play: Play) -> None:
    """User, assistant that asks, results, assistant."""
    await play.open("i1")
    await play.step("i1", 0, sandbox("a"))
    await play.finish("a")
    await play.step("i1", 1)
    await play.close("i1")


async def texts(store: Store, key: str) -> list[Message]:
    found = await store.transcript.window(key, upto_seq=10**6, limit=None)
    return [stored.message for stored in found]


async def test_a_fork_begins_with_the_same_messages_and_goes_its_own_way(play: Play, store: Store):
    await talk(play)
    before = await play.messages()
    await store.forks.fork(order(play))
    assert await texts(store, NEW) == before
    fork = Play(store, NEW, play.config_digest)
    await fork.open("j1")
    await fork.step("j1", 0)
    await fork.close("j1")
    assert len(await texts(store, NEW)) == 6
    assert unanswered(await texts(store, NEW)) == []
    assert await play.messages() == before
    record = await store.sessions.get(NEW)
    assert (record.forked_from, record.forked_seq) == (play.session, 4)


@pytest.mark.parametrize(("seq", "near"), [(2, "1 or 3")])
async def test_a_call_is_never_parted_from_its_result(
    play: Play, store: Store, seq: int, near: str
):
    await talk(play)
    with pytest.raises(ServiceError, match=f"take {near}"):
        await store.forks.fork(order(play, from_seq=seq))
    await store.forks.fork(order(play, from_seq=3))
    assert unanswered(await texts(store, NEW)) == []
    for outside in (0, 5):
        with pytest.raises(ServiceError, match="from 1 to 4"):
            await store.forks.fork(order(play, from_seq=outside, key=f"{NEW}{outside}"))


async def test_calls_that_wait_stay_with_the_old_session(play: Play, store: Store):
    await play.ask_person("i1", inline("w"))
    await store.forks.fork(order(play))
    assert len(await texts(store, NEW)) == 1
    assert (await store.sessions.get(NEW)).status is SessionStatus.IDLE
    assert (await store.sessions.get(play.session)).status is SessionStatus.WAITING


async def test_the_same_order_gives_the_same_fork_and_another_is_refused(play: Play, store: Store):
    await talk(play)
    assert await store.forks.fork(order(play)) == await store.forks.fork(order(play))
    assert len(await texts(store, NEW)) == 4
    with pytest.raises(ServiceError, match="has a session fork already"):
        await store.forks.fork(order(play, digest="other"))
    with pytest.raises(ServiceError, match="used before with other parameters"):
        await store.forks.fork(order(play, digest="other", by_token=True))


async def test_costs_stay_with_the_old_session_and_signatures_come_along(play: Play, store: Store):
    await play.open("i1")
    start = await store.turns.begin_step(play.session, "i1", 0)
    thought = ReasoningBlock(text="Hm", origin=Origin.CLAUDE, signature="sealed")
    said = Message(
        role="assistant", blocks=(thought, TextBlock(text="Hi")), stop_reason=StopReason.END_TURN
    )
    await store.turns.commit_step(
        play.session,
        "i1",
        0,
        start.attempt,
        message=said,
        calls=(),
        usage=USAGE,
        latency_ms=1,
        model_id="m",
    )
    summary = SummaryRecord(1, "short", TokenUsage(input_tokens=9), None)
    await store.summaries.keep(play.session, summary)
    await play.close("i1")
    await store.forks.fork(order(play))
    assert (await texts(store, NEW))[-1] == said
    assert await store.usage.of_session(NEW) == ()
    kept = await store.summaries.newest(NEW, before_seq=9)
    assert kept is not None and kept.text == "short"
    assert await store.summaries.uncounted(NEW) == ()


async def test_a_fork_keeps_what_its_invocations_are_to_run_with(play: Play, store: Store):
    await talk(play)
    model = ModelConfig(lite_llm_model_config=LiteLlmModel(model_id="demo/other"))
    wanted = SessionDefaults(qualifier="canary", model=model)
    await store.forks.fork(order(play, defaults=wanted))
    assert await store.forks.defaults(NEW) == wanted
    assert await store.forks.defaults(play.session) is None


async def test_a_fork_with_files_has_an_environment_that_never_ran(play: Play, store: Store):
    await talk(play)
    wanted = order(play, files=ForkFiles("host-a", "a" * 32))
    assert not await store.forks.check(wanted)
    with pytest.raises(ServiceError, match="fromSeq"):
        await store.forks.check(order(play, from_seq=2))
    for _ in range(2):
        await store.forks.fork(wanted)
    assert await store.forks.check(wanted)
    record = await store.environments.get(NEW)
    assert record is not None
    assert (record.host, record.state) == ("host-a", EnvironmentState.FORKED)
    assert record.reference == {"staged": "a" * 32}


async def test_a_copy_moves_with_shared_volumes_and_stays_with_others(play: Play, store: Store):
    await talk(play)
    await store.forks.fork(order(play, files=ForkFiles("dead", "a" * 32)))
    await store.environments.claim("dead", "place", HostVolumes("v"))
    await store.environments.claim("heir", "place", HostVolumes("v"))
    await store.environments.beat("heir", lease_s=60)
    assert await store.environments.assign(NEW, None) == "heir"
    record = await store.environments.get(NEW)
    assert record is not None and record.state is EnvironmentState.FORKED
    assert (record.generation, record.reference) == (2, {"staged": "a" * 32})
    await store.environments.claim("alone", "place", HostVolumes(None, may_lose_files=True))
    await store.environments.beat("heir", lease_s=0)
    await store.environments.beat("alone", lease_s=60)
    assert await store.environments.assign(NEW, None) == "alone"
    record = await store.environments.get(NEW)
    assert record is not None and record.state is EnvironmentState.FILES_LOST
