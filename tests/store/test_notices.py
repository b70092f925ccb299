"""Notices in the store: written with the decision's change, settled once, listed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from contracts.approvals import Deciders, Escalation
from contracts.errors import AwsError, ErrorDetail, ServiceError
from contracts.messages import StopReason
from contracts.notices import NoticeChannel, NoticeKind, NoticeRecord, NoticeState
from store import Store
from store.engine import open_database
from store.notice_tables import notice
from store.notices import TOO_OLD
from tests.store.play import ACCOUNT, Play, answers, sandbox
from tests.store.test_decisions import ADA, asks, opened, says_yes, send


async def notices(store: Store, state: NoticeState | None = None) -> list[NoticeRecord]:
    found, _ = await store.notices.list(ACCOUNT, state=state, limit=100, after=None)
    return list(reversed(found))


async def due(store: Store) -> tuple[str, ...]:
    return tuple(each.id for each in await store.notices.due((NoticeChannel.WEBHOOK,)))


async def kinds(store: Store) -> list[NoticeKind]:
    return [each.kind for each in await notices(store)]


async def test_a_decision_is_told_when_it_opens_and_when_it_closes(play: Play) -> None:
    await play.ask_person("i1", sandbox("plain"), asks("risky"))
    (decision,) = await opened(play)
    (first,) = await notices(play.store)
    assert (first.kind, first.state, first.decision) == (
        NoticeKind.OPENED,
        NoticeState.WAITING,
        decision,
    )
    await send(play, decision, says_yes(decision), ADA)
    assert await kinds(play.store) == [NoticeKind.OPENED, NoticeKind.CLOSED]


async def test_an_escalation_and_its_end_are_told(play: Play) -> None:
    further = Escalation(deciders=Deciders(roles=("boss",)))
    await play.ask_person(
        "i1", asks("risky", deadline_seconds=1, on_timeout="escalate", escalate_to=further)
    )
    await _age(play.store, "decision", due_at=datetime.now(UTC) - timedelta(seconds=1))
    await play.store.decisions.expire(play.session)
    await play.store.decisions.expire(play.session)
    assert await kinds(play.store) == [NoticeKind.OPENED, NoticeKind.ESCALATED]
    assert (await notices(play.store))[1].decision.gate.terms.deciders.roles == ("boss",)


async def test_whoever_else_closes_a_decision_is_told_of_too(play: Play) -> None:
    await play.ask_person("i1", asks("answered"))
    await play.open("i2", answers(("answered", "done")))
    assert await kinds(play.store) == [NoticeKind.OPENED, NoticeKind.CLOSED]
    await play.step("i2", 0, asks("withdrawn"))
    await play.store.turns.hand_over(play.session, "i2")
    await play.close("i2", None, ErrorDetail(AwsError.INTERNAL, "broken"))
    assert (await kinds(play.store))[2:] == [NoticeKind.OPENED, NoticeKind.CLOSED]


async def test_a_notice_is_settled_once(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    ((name,), notices_) = await due(play.store), play.store.notices
    assert (await notices_.begin(name)) is not None
    await notices_.missed(name, "answered HTTP 503")
    again = await notices_.begin(name)
    assert again is not None and (again.attempts, again.error) == (1, "answered HTTP 503")
    await notices_.delivered(name)
    await notices_.give_up(name)
    assert await notices_.begin(name) is None
    (found,) = await notices(play.store, NoticeState.DELIVERED)
    assert (found.attempts, found.settled_at is None) == (2, False)
    assert await notices(play.store, NoticeState.FAILED) == []


async def test_a_notice_that_a_workflow_has_is_not_due(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    (name,) = await due(play.store)
    await play.store.notices.given(name)
    assert await due(play.store) == ()


async def test_a_notice_is_made_one_for_each_way_once(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    ((name,), notices_) = await due(play.store), play.store.notices
    ways = [(NoticeChannel.EMAIL, "a@example.com"), (NoticeChannel.WEBHOOK, None)]
    await notices_.spread(name, ways)
    await notices_.spread(name, [(NoticeChannel.WEBHOOK, None)])
    found = {each.id: (each.channel, each.recipient) for each in await notices(play.store)}
    assert found == {name: ways[0], f"{name}.2": ways[1]}
    assert await due(play.store) == (f"{name}.2",)
    await notices_.delivered(f"{name}.2")
    assert [each.id for each in await notices(play.store, NoticeState.WAITING)] == [name]


async def test_old_news_is_given_up_but_what_still_waits_is_told(play: Play) -> None:
    await play.ask_person("i1", asks("one"), asks("two"))
    one, _ = await opened(play)
    await send(play, one, says_yes(one), ADA)
    await _age(play.store, "notice", at=datetime.now(UTC) - timedelta(days=2))
    begun = {
        each.decision.id: await play.store.notices.begin(each.id)
        for each in await notices(play.store)
        if each.kind is NoticeKind.OPENED
    }
    assert begun.pop(one.id) is None
    assert None not in begun.values()
    (failed,) = await notices(play.store, NoticeState.FAILED)
    assert (failed.error, failed.attempts) == (TOO_OLD, 0)


async def test_pages_follow_each_other(play: Play) -> None:
    await play.ask_person("i1", asks("one"), asks("two"), asks("three"))
    everything = play.store.notices
    first, token = await everything.list(ACCOUNT, state=None, limit=2, after=None)
    rest, end = await everything.list(ACCOUNT, state=None, limit=2, after=token)
    assert len({each.id for each in (*first, *rest)}) == 3 and end is None
    with pytest.raises(ServiceError, match="nextToken"):
        await everything.list(ACCOUNT, state=None, limit=2, after="x")


async def test_notices_go_with_their_session(play: Play) -> None:
    await play.ask_person("i1", asks("risky"))
    await play.close("i1", StopReason.END_TURN)
    order = await play.store.deletions.begin_session(ACCOUNT, play.session, requested_by="k")
    while await play.store.deletions.delete_rows(order.id):
        pass
    assert await notices(play.store) == []


async def _age(store: Store, table: str, **values: Any) -> None:
    database = open_database(store._database.url.render_as_string(False))  # pyright: ignore[reportPrivateUsage]
    changed = notice.metadata.tables[table]
    await database.write(lambda connection: connection.execute(sa.update(changed).values(**values)))
    await database.close()
