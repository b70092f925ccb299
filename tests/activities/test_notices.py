"""Sending notices to a real server: signed, under one id, and in its format."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.notices import NoticeActivities
from contracts.approvals import Deciders, Terms
from contracts.decisions import Gate
from contracts.notices import NoticeChannel, NoticeOrder, NoticeRecord, NoticeState
from contracts.webhook_settings import WebhookSettings
from store import Store, migrate
from tests.receiver import SECRET, Receiver
from tests.store.play import ACCOUNT, HARNESS, Play, sandbox

API = "https://agents.example.com"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "everloop.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def store(template: Path, tmp_path: Path) -> AsyncIterator[Store]:
    shutil.copy(template, tmp_path / "everloop.db")
    opened = await Store.open(f"sqlite:///{tmp_path / 'everloop.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


async def ask(store: Store, name: str = "ls") -> NoticeOrder:
    play = await Play.begin(store)
    terms = Terms(deciders=Deciders(users=("ada",), roles=("finance",)))
    await play.ask_person("i1", replace(sandbox(name), gate=Gate(terms=terms)))
    (due,) = await store.notices.due((NoticeChannel.WEBHOOK,))
    return NoticeOrder(due.id)


async def send(store: Store, webhook: WebhookSettings | None, order: NoticeOrder) -> None:
    await ActivityEnvironment().run(NoticeActivities(store, webhook).deliver_notice, order)


async def only(store: Store) -> NoticeRecord:
    (found,), _ = await store.notices.list(ACCOUNT, state=None, limit=9, after=None)
    return found


async def test_what_is_refused_is_sent_again_under_the_same_id(store: Store, receiver: Receiver):
    receiver.refuses = 2
    webhook = WebhookSettings(receiver.start(), SECRET, public_url=API)
    order = await ask(store)
    for _ in range(2):
        with pytest.raises(ApplicationError, match="^answered HTTP 503$"):
            await send(store, webhook, order)
    assert (await only(store)).error == "answered HTTP 503"
    await send(store, webhook, order)
    await send(store, webhook, order)
    found = await only(store)
    assert (found.state, found.attempts) == (NoticeState.DELIVERED, 3)
    (taken,) = receiver.taken
    sent = [*receiver.refused, taken]
    assert {each.delivery for each in sent} == {order.notice_id}
    assert all(each.is_signed for each in sent)
    assert taken.json == {
        "id": order.notice_id,
        "kind": "opened",
        "at": found.at.isoformat(),
        "url": f"{API}/everloop/v1/decisions/{found.decision.id}",
        "decision": {
            "id": found.decision.id,
            "status": "open",
            "tool": "shell",
            "harnessId": HARNESS,
            "runtimeSessionId": found.decision.runtime_session_id,
            "requestedAt": found.decision.requested_at.isoformat(),
            "dueAt": None,
            "deciders": {"users": ["ada"], "roles": ["finance"]},
            "required": 1,
            "decidedBy": None,
        },
    }


async def test_arguments_are_told_only_where_that_is_wanted(store: Store, receiver: Receiver):
    webhook = WebhookSettings(receiver.start(), arguments=True)
    await send(store, webhook, await ask(store, "echo planted"))
    (taken,) = receiver.taken
    assert taken.json["decision"]["arguments"] == {"command": "echo planted"}
    assert "x-everloop-signature" not in taken.headers


async def test_a_chat_reads_text_in_which_no_name_pings_or_links(store: Store, receiver: Receiver):
    url = receiver.start()
    webhook = WebhookSettings(url, format="slack", arguments=True, public_url=API)
    await send(store, webhook, await ask(store, "<!channel> a&b"))
    found = (await only(store)).decision
    assert receiver.taken[0].json == {
        "text": "A decision is waited for: shell\n"
        f"{HARNESS}, session {found.runtime_session_id}\n"
        "open: ada or role finance may decide\n"
        '{"command": "&lt;!channel&gt; a&amp;b"}\n'
        f"{API}/everloop/v1/decisions/{found.id}"
    }


async def test_redirects_are_not_followed(store: Store, receiver: Receiver):
    receiver.refuses, receiver.status = 1, 307
    order = await ask(store)
    with pytest.raises(ApplicationError, match="HTTP 307"):
        await send(store, WebhookSettings(receiver.start()), order)
    assert receiver.taken == []


async def test_a_failure_names_neither_the_url_nor_the_secret(store: Store, receiver: Receiver):
    url = receiver.start()
    receiver.stop()
    with pytest.raises(ApplicationError, match="ConnectError") as error:
        await send(store, WebhookSettings(url, SECRET), await ask(store))
    assert error.value.__cause__ is error.value.__context__ is None
    assert "planted" not in str(error.value)
    assert (await only(store)).state is NoticeState.WAITING


async def test_a_worker_without_a_receiver_leaves_the_notice_to_others(store: Store):
    order = await ask(store)
    with pytest.raises(ApplicationError, match="EVERLOOP_WEBHOOK_URL"):
        await send(store, None, order)
    assert (await only(store)).attempts == 0


async def test_what_is_given_up_stays_and_is_not_sent(store: Store, receiver: Receiver):
    webhook, order = WebhookSettings(receiver.start()), await ask(store)
    giving_up = NoticeActivities(store, webhook).give_up_notice
    await ActivityEnvironment().run(giving_up, order)
    await send(store, webhook, order)
    assert ((await only(store)).state, receiver.taken) == (NoticeState.FAILED, [])
