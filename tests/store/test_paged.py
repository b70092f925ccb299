"""What a step, a turn and a look at a session read does not grow with the conversation before."""

import sqlite3
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from contracts.budget import Budget
from contracts.records import InvocationState
from contracts.sessions import SessionFilter
from store import Store
from tests.store.play import ACCOUNT, HARNESS, Play, sandbox, says

T = TypeVar("T")
#: Messages before the first look, which are more than a model is shown, and before the second.
FEW, MANY, WINDOW = 48, 400, 40
LIMITS = Budget(tokens_per_session=10**9, tokens_per_harness=10**9, usd_per_session=9.0)


@dataclass
class Meter:
    """How much of its work SQLite did for what: a little for each row that it looked at."""

    rounds: int = 0
    looks: dict[str, int] = field(default_factory=dict[str, int])

    def tick(self) -> None:
        self.rounds += 1

    async def look(self, what: str, work: Awaitable[T]) -> T:
        self.rounds = 0
        done = await work
        self.looks[what] = self.rounds
        return done

    def taken(self) -> dict[str, int]:
        taken, self.looks = self.looks, {}
        return taken


@pytest.fixture
def meter() -> Iterator[Meter]:
    counting = Meter()

    def begin(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_progress_handler(counting.tick, 1)

    event.listen(Pool, "connect", begin)
    yield counting
    event.remove(Pool, "connect", begin)


async def step(play: Play, meter: Meter, invocation_id: str, number: int, *, ends: bool) -> None:
    """A model call as its activity makes it, with a tool call unless it ends the turn."""
    store, session = play.store, play.session
    turns, transcript = store.turns, store.transcript
    begun = await meter.look("begin a step", turns.begin_step(session, invocation_id, number))
    await meter.look("read what it runs with", turns.config(session, invocation_id))
    limits = store.budgets.meet(session, invocation_id, number, LIMITS)
    await meter.look("look at the budget", limits)
    window = transcript.window(session, upto_seq=begun.seq, limit=WINDOW)
    assert len(await meter.look("read the window", window)) <= WINDOW
    asked = transcript.last_user_text(session, upto_seq=begun.seq)
    await meter.look("read what was asked", asked)
    calls = () if ends else (sandbox(f"{invocation_id}-{number}"),)
    commit = play.commit(invocation_id, number, begun.attempt, *calls)
    await meter.look("settle a step", commit)
    if calls:
        await meter.look("run a call", play.finish(calls[0].block.id))


async def turn(play: Play, meter: Meter, invocation_id: str, *, steps: int = 2) -> None:
    """A turn of that many model calls, as the API, the workflow and its activities have it."""
    store, session = play.store, play.session
    admitted = await meter.look("admit an invocation", play.admit(invocation_id, says("Go on.")))
    await meter.look("open a turn", store.turns.open(session, invocation_id))
    for number in range(steps):
        await step(play, meter, invocation_id, number, ends=number == steps - 1)
    await meter.look("close a turn", play.close(invocation_id))
    await meter.look("find who waits", store.runs.listeners(session, invocation_id))
    after = admitted.first_cursor - 1
    log = store.log.read(session, after=after, invocation_id=invocation_id)
    await meter.look("stream a turn", log)


async def look_around(play: Play, meter: Meter, invocation_id: str) -> None:
    """What people and programs ask about a session."""
    store, session = play.store, play.session
    await meter.look("an invocation", store.turns.invocation(session, invocation_id))
    await meter.look("a run", store.runs.get(session, invocation_id))
    await meter.look("decisions", store.decisions.standing(session))
    await meter.look("waiting calls", store.calls.pending(session))
    await meter.look("a session", store.sessions.get(session))
    listed = store.sessions.list(ACCOUNT, SessionFilter(), limit=5, after=None)
    await meter.look("sessions", listed)
    await meter.look("invocations", store.sessions.invocations(session, limit=5, after=None))
    await meter.look("queued", store.sessions.count(session, InvocationState.NEW))
    await meter.look("a page", store.sessions.transcript(session, after_seq=10, limit=5))
    await meter.look("calls", store.sessions.calls(session, after=(0, 0), limit=5))
    await meter.look("usage", store.usage.of_session(session))
    await meter.look("usage of the harness", store.usage.of_harness(ACCOUNT, HARNESS))
    await meter.look("usage of sessions", store.usage.sessions(ACCOUNT, HARNESS, limit=5))
    await meter.look("usage of invocations", store.usage.invocations(session, limit=5))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_turn_reads_as_much_after_many_messages_as_after_few(
    meter: Meter, store: Store
) -> None:
    play = await Play.begin(store)
    seen: list[dict[str, int]] = []
    # Question, call, result, answer.
    for number in range(1, MANY // 4 + 1):
        await turn(play, meter, f"i{number:04}")
        if number in (FEW // 4, MANY // 4):
            await look_around(play, meter, f"i{number:04}")
            seen.append(meter.taken())
    assert len(await play.messages()) == MANY
    assert seen[0] == seen[1]
    assert min(seen[0].values()) > 0, "a look that counts nothing finds nothing"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_step_reads_as_much_late_in_a_long_turn_as_early(
    meter: Meter, store: Store
) -> None:
    play = await Play.begin(store)
    await play.open("long")
    seen: list[dict[str, int]] = []
    for number in range(1, MANY // 2 + 1):
        await step(play, meter, "long", number - 1, ends=False)
        if number in (FEW // 2, MANY // 2):
            seen.append(meter.taken())
    assert seen[0] == seen[1]
