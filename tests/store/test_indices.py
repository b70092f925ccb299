import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from contracts.approvals import Terms
from contracts.budget import Budget
from contracts.decisions import Gate, NewVote, Principal, VerdictKind
from contracts.ids import session_key
from contracts.notices import NoticeChannel, NoticeState
from contracts.records import InvocationState
from contracts.sessions import ForkOrder, SessionFilter, SessionStatus
from contracts.turn_files import TurnFiles
from contracts.vault import ApiKeyProviderArn
from store import Store
from store.inbox import InboxFilter
from store.paging import encode_token
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG, HARNESS, Play, inline, sandbox, says
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


async def settle_all(store: Store) -> None:
    for operation in await store.provisioning.under_way():
        await settle(store, operation)


async def use_everything(store: Store) -> None:
    record = await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token="t", params_digest="d"
    )
    await settle_all(store)
    await store.harnesses.serving(ACCOUNT, record.harness_id, "DEFAULT")
    await store.harnesses.get(ACCOUNT, record.harness_id)
    _, after = await store.harnesses.list(ACCOUNT, limit=1, after=None)
    await store.harnesses.create(ACCOUNT, "other", CONFIG, client_token=None, params_digest="d")
    _, after = await store.harnesses.list(ACCOUNT, limit=1, after=None)
    await store.harnesses.list(ACCOUNT, limit=1, after=after)
    await store.harnesses.update(
        ACCOUNT, record.harness_id, lambda config: config, client_token="t", params_digest="d"
    )
    await settle_all(store)
    await store.harnesses.versions(ACCOUNT, record.harness_id, limit=1, after=None)
    await store.endpoints.create(
        ACCOUNT,
        record.harness_id,
        "prod",
        version="1",
        description=None,
        client_token="t",
        params_digest="d",
    )
    await settle_all(store)
    await store.endpoints.update(
        ACCOUNT,
        record.harness_id,
        "prod",
        version=None,
        description="d",
        client_token="t",
        params_digest="d",
    )
    await settle_all(store)
    await store.endpoints.list(ACCOUNT, record.harness_id, limit=1, after=None)
    await store.tags.put(ACCOUNT, record.harness_id, "prod", {"a": "b"})
    await store.tags.list(ACCOUNT, record.harness_id, "prod")
    await store.tags.remove(ACCOUNT, record.harness_id, "prod", ["a"])
    await store.endpoints.delete(
        ACCOUNT, record.harness_id, "prod", client_token="t", params_digest="d"
    )
    await settle_all(store)
    going = await store.harnesses.delete(
        ACCOUNT, record.harness_id, client_token="t", params_digest="d"
    )
    assert going.operation is not None
    await store.provisioning.sessions_left(going.operation, after="", limit=9)
    await settle_all(store)
    play = await Play.begin(store)
    for step in SCRIPT:
        await step(play)
    await play.ask_person("i4", inline("z"))
    await play.open("i5", says("refused"))
    await store.calls.pending(play.session)
    await store.environments.check_wanted(play.session)
    await store.turns.invocation(play.session, "i1")
    await play.events("i1")
    await play.messages()
    await store.transcript.window(play.session, upto_seq=9, limit=3)
    await store.transcript.last_user_text(play.session, upto_seq=9)
    await use_vault(store)
    await use_decisions(store)
    await use_notices(store)
    await use_turn_files(store, play.session)
    await store.environments.get(play.session)
    await store.environments.on_host("host")
    await store.summaries.newest(play.session, before_seq=9)
    await store.summaries.uncounted(play.session)
    await use_sessions(store, play.session)
    await store.usage.knows(play.session)
    limits = Budget(tokens_per_session=10**9, tokens_per_harness=10**9)
    assert await store.budgets.meet(play.session, "i4", 1, limits) is None
    await store.usage.of_session(play.session)
    token = encode_token(datetime.now(UTC), "z")
    for after in (None, token):
        await store.usage.invocations(play.session, limit=9, after=after)
    await store.usage.call(play.session, "i1", 0)
    await store.usage.calls(play.session, "i1")
    await store.usage.of_harness(ACCOUNT, "helper-abcdefghij")
    for after in (None, token):
        await store.usage.sessions(ACCOUNT, "helper-abcdefghij", limit=9, after=after)


async def use_sessions(store: Store, session: str) -> None:
    await store.sessions.get(session)
    for wanted in (SessionFilter(), SessionFilter(harness_id=HARNESS, status=SessionStatus.IDLE)):
        await store.sessions.list(ACCOUNT, wanted, limit=1, after=None)
    after = encode_token(datetime.now(UTC), session)
    await store.sessions.list(ACCOUNT, SessionFilter(), limit=1, after=after)
    _, after = await store.sessions.invocations(session, limit=1, after=None)
    await store.sessions.invocations(session, limit=1, after=after)
    await store.sessions.count(session, InvocationState.NEW)
    await store.sessions.transcript(session, after_seq=1, limit=1)
    await store.sessions.calls(session, after=(0, 0), limit=1)
    await store.sessions.snapshots(session, 1, 9)
    key = session_key(ACCOUNT, HARNESS, "fork")
    await store.forks.fork(ForkOrder(session, key, ACCOUNT, HARNESS, "fork", 1, "d"))
    await store.forks.defaults(key)
    await store.deletions.expire(ACCOUNT, before=datetime.now(UTC))
    order = await store.deletions.begin_session(ACCOUNT, key, requested_by="k")
    while await store.deletions.delete_rows(order.id, limit=1):
        pass
    await store.deletions.complete(order.id)
    await store.deletions.left_open()
    await store.deletions.forget_receipts(before=datetime.now(UTC))
    await store.environments.host_of(session)


async def use_turn_files(store: Store, session: str) -> None:
    await store.turn_files.begin(session, "i1")
    await store.turn_files.begin(session, "i1")
    await store.turn_files.put(session, "i1", TurnFiles())
    await store.turn_files.get(session, "i1")
    await store.turn_files.of(session, ["i1", "i2"])
    await store.turn_files.unsettled("host")
    await store.turn_files.running([(session, "i1")])


async def use_decisions(store: Store) -> None:
    play = await Play.begin(store)
    gate = Gate(terms=Terms(required=2, deadline_seconds=1000))
    await play.ask_person("i1", replace(sandbox("gated"), gate=gate))
    decisions = store.decisions
    everything = InboxFilter(
        who=Principal("ada", ("ops",)), role="ops", harness_id="x", before=datetime.now(UTC)
    )
    await decisions.list(ACCOUNT, everything, limit=1, after=None)
    found, _ = await decisions.list(ACCOUNT, InboxFilter(), limit=100, after=None)
    _, after = await decisions.list(ACCOUNT, InboxFilter(), limit=1, after=None)
    await decisions.list(ACCOUNT, InboxFilter(), limit=1, after=after)
    asked = next(each for each in found if each.session == play.session)
    for number, arguments in enumerate(({"command": "x"}, None)):
        asked = await decisions.get(ACCOUNT, asked.id)
        vote = NewVote(f"v{number}", asked.digest, VerdictKind.APPROVE, arguments=arguments)
        await decisions.cast(ACCOUNT, asked.id, vote, Principal(f"user{number}"))
        await decisions.count(play.session, asked.id, vote.vote_id)
    await decisions.told(play.session, ["gated"])
    await decisions.expire(play.session)
    resume = (await decisions.standing(play.session)).resume
    assert resume is not None
    await decisions.owed(late_s=0)
    await play.store.turns.open(play.session, resume.invocation_id)


async def use_notices(store: Store) -> None:
    (found, *_), after = await store.notices.list(ACCOUNT, state=None, limit=1, after=None)
    await store.notices.list(ACCOUNT, state=NoticeState.WAITING, limit=1, after=after)
    due = await store.notices.due((NoticeChannel.WEBHOOK,))
    assert found.id in {each.id for each in due}
    await store.notices.spread(found.id, [(NoticeChannel.WEBHOOK, None)])
    await store.notices.begin(found.id)
    await store.notices.missed(found.id, "down")
    await store.notices.given(found.id)
    await store.notices.delivered(found.id)


async def use_vault(store: Store) -> None:
    arns = [ApiKeyProviderArn("us-east-1", ACCOUNT, name) for name in ("a", "b")]
    for arn in arns:
        await store.api_keys.create(arn, "k")
    _, after = await store.api_keys.list(ACCOUNT, "us-east-1", limit=1, after=None)
    await store.api_keys.list(ACCOUNT, "us-east-1", limit=1, after=after)
    await store.api_keys.update(arns[0], "l")
    await store.api_keys.reveal(arns[0])
    await store.api_keys.delete(arns[1])
    key = await store.access_keys.create(ACCOUNT, "one", expires_at=None)
    await store.access_keys.find(key.record.access_key_id)
    await store.access_keys.delete(key.record.access_key_id)


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
