import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from store import Store
from tests.store.play import ACCOUNT, CONFIG, Play, inline, says
from tests.store.test_closing import SCRIPT

Executed = dict[str, Any]


@pytest.fixture
def executed() -> Iterator[Executed]:
    """Every statement that runs, with the parameters of one run."""
    seen: Executed = {}

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen[statement] = parameters[0] if isinstance(parameters, list) else parameters

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


async def use_everything(store: Store) -> None:
    record = await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token="t", params_digest="d"
    )
    await store.harnesses.get(ACCOUNT, record.harness_id)
    _, after = await store.harnesses.list(ACCOUNT, limit=1, after=None)
    await store.harnesses.create(ACCOUNT, "other", CONFIG, client_token=None, params_digest="d")
    _, after = await store.harnesses.list(ACCOUNT, limit=1, after=None)
    await store.harnesses.list(ACCOUNT, limit=1, after=after)
    play = await Play.begin(store)
    for step in SCRIPT:
        await step(play)
    await play.ask_person("i4", inline("z"))
    await play.open("i5", says("refused"))
    await store.calls.pending(play.session)
    await store.turns.invocation(play.session, "i1")
    await play.events("i1")
    await play.messages()
    await store.transcript.window(play.session, upto_seq=9, limit=3)
    await store.transcript.last_user_text(play.session, upto_seq=9)
    await store.environments.get(play.session)
    await store.environments.on_host("host")
    await store.summaries.newest(play.session, before_seq=9)
    await store.summaries.uncounted(play.session)
    await store.usage.knows(play.session)
    await store.usage.of_session(play.session)
    await store.usage.invocations(play.session, limit=9)
    await store.usage.calls(play.session, "i1")
    await store.usage.of_harness(ACCOUNT, "helper-abcdefghij")
    await store.usage.sessions(ACCOUNT, "helper-abcdefghij", limit=9)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_every_query_uses_an_index(store: Store, url: str, executed: Executed) -> None:
    await use_everything(store)
    connection = sqlite3.connect(url.partition(":///")[2])
    scans: list[str] = []
    queries = 0
    for statement, parameters in executed.items():
        if not re.match("SELECT|UPDATE|DELETE", statement):
            continue
        queries += 1
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        scans += [f"{row[3]}: {statement}" for row in plan if row[3].startswith("SCAN")]
    connection.close()
    assert queries > 25
    assert scans == []
