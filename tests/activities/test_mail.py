"""Mailing notices to a real server: once each, with TLS and a login, to those who decide."""

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.mail import mail_of
from activities.notices import NOBODY, NoticeActivities, spread
from contracts.approvals import Deciders, Terms
from contracts.decisions import Gate
from contracts.email_settings import EmailSettings
from contracts.notices import NoticeChannel, NoticeOrder, NoticeRecord, NoticeState
from contracts.webhook_settings import WebhookSettings
from store import Store, migrate
from tests.mailbox import PASSWORD, Mailbox
from tests.receiver import Receiver
from tests.store.play import ACCOUNT, Play, sandbox

# The server under test sees TLS from the beginning as none.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")
BOTH = (NoticeChannel.WEBHOOK, NoticeChannel.EMAIL)
BOOK = '{"users": {"ada": "ada@example.com"}, "roles": {"finance": ["f1@example.com"]}}'
TERMS = Terms(deciders=Deciders(users=("ada",), roles=("finance",)))


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


@pytest.fixture(params=[False, True], ids=["smtp", "smtps"])
def mailbox(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mailbox]:
    made = Mailbox(tmp_path, starts_with_tls=request.param)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def starttls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    made = Mailbox(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    made.start()
    yield made
    made.stop()


def settings_of(mailbox: Mailbox, tmp_path: Path, **more: str) -> EmailSettings:
    book = tmp_path / "book.json"
    book.write_text(BOOK)
    env = {
        "EVERLOOP_SMTP_URL": mailbox.url(),
        "EVERLOOP_EMAIL_FROM": "Everloop <everloop@example.org>",
        "EVERLOOP_EMAIL_TO": "desk@example.com",
        "EVERLOOP_EMAIL_BOOK": str(book),
        **more,
    }
    read = EmailSettings.from_env(env, api_url="https://agents.example.com")
    assert read is not None
    return read


async def ask(store: Store, name: str = "ls", terms: Terms = TERMS) -> str:
    play = await Play.begin(store)
    await play.ask_person("i1", replace(sandbox(name), gate=Gate(terms=terms)))
    (due,) = await store.notices.due(BOTH)
    return due.id


async def send(store: Store, notice_id: str, email: EmailSettings | None, url: str = "") -> None:
    webhook = WebhookSettings(url) if url else None
    sender = NoticeActivities(store, webhook, email)
    await ActivityEnvironment().run(sender.deliver_notice, NoticeOrder(notice_id))


async def listed(store: Store) -> dict[str | None, NoticeRecord]:
    """Notices by whom they are mailed to; None is the webhook's."""
    found, _ = await store.notices.list(ACCOUNT, state=None, limit=9, after=None)
    return {each.recipient: each for each in found}


async def test_each_decider_gets_a_mail_that_says_what_is_asked(
    store: Store, mailbox: Mailbox, tmp_path: Path
) -> None:
    email = settings_of(mailbox, tmp_path, EVERLOOP_EMAIL_ARGUMENTS="1")
    await spread(store, await ask(store, "<b>&\nls"), None, email)
    ids = [due.id for due in await store.notices.due(BOTH)]
    for id_ in ids:
        await send(store, id_, email)
        await send(store, id_, email)
    assert [each.rcpt_tos for each in mailbox.envelopes] == [
        ["ada@example.com"],
        ["f1@example.com"],
    ]
    mail = mailbox.taken[0]
    about = (await listed(store))["ada@example.com"].decision
    assert (mail["To"], mail["From"]) == ("ada@example.com", "Everloop <everloop@example.org>")
    assert mail["Subject"] == "A decision is waited for: shell"
    assert mail["Message-ID"] == f"<{ids[0]}@example.org>"
    assert mail["References"] == f"<{about.id}@example.org>"
    url = f"https://agents.example.com/everloop/v1/decisions/{about.id}"
    plain, shown = mail.iter_parts()
    assert plain.get_content_type() == "text/plain"
    for text in ("open: ada or role finance may decide", about.runtime_session_id, url):
        assert text in plain.get_content() and text in shown.get_content()
    assert '{"command": "<b>&\\nls"}' in plain.get_content()
    assert "&lt;b&gt;&amp;\\nls" in shown.get_content() and "<b>" not in shown.get_content()


async def test_a_way_that_fails_does_not_repeat_the_other(
    store: Store, starttls: Mailbox, tmp_path: Path
) -> None:
    email, receiver = settings_of(starttls, tmp_path), Receiver()
    url = receiver.start()
    starttls.refuses = lambda step, about: "451 later" if "ada" in about else None
    await spread(store, await ask(store), WebhookSettings(url), email)
    await spread(store, (await store.notices.due(BOTH))[0].id, WebhookSettings(url), email)
    for due in await store.notices.due(BOTH):
        try:
            await send(store, due.id, email, url)
        except ApplicationError as error:
            assert (str(error), error.non_retryable) == ("answered SMTP 451 to RCPT", False)
    found = await listed(store)
    assert {name: (each.channel, each.state) for name, each in found.items()} == {
        None: ("webhook", NoticeState.DELIVERED),
        "ada@example.com": ("email", NoticeState.WAITING),
        "f1@example.com": ("email", NoticeState.DELIVERED),
    }
    starttls.refuses = lambda step, about: None
    for due in await store.notices.due(BOTH):
        await send(store, due.id, email, url)
    assert [each["To"] for each in starttls.taken] == ["f1@example.com", "ada@example.com"]
    assert len(receiver.taken) == 1
    receiver.stop()


async def test_a_mail_that_is_refused_for_good_is_not_tried_again(
    store: Store, starttls: Mailbox, tmp_path: Path
) -> None:
    email = settings_of(starttls, tmp_path)
    await spread(store, await ask(store), None, email)
    first, second = [due.id for due in await store.notices.due(BOTH)]
    starttls.refuses = lambda step, about: f"550 {PASSWORD}" if step == "RCPT" else None
    with pytest.raises(ApplicationError, match="^answered SMTP 550 to RCPT$") as refused:
        await send(store, first, email)
    starttls.refuses = lambda step, about: "554 no" if step == "DATA" else None
    with pytest.raises(ApplicationError, match="^answered SMTP 554 to DATA$") as unread:
        await send(store, second, email)
    assert refused.value.non_retryable and unread.value.non_retryable


async def test_a_server_that_is_down_or_does_not_know_us_is_tried_again(
    store: Store, starttls: Mailbox, tmp_path: Path
) -> None:
    email = settings_of(starttls, tmp_path)
    wrong = settings_of(starttls, tmp_path, EVERLOOP_SMTP_URL=starttls.url("wrong"))
    await spread(store, await ask(store, terms=Terms()), None, email)
    (due,) = await store.notices.due(BOTH)
    with pytest.raises(ApplicationError, match="^answered SMTP 535 to AUTH$") as unknown:
        await send(store, due.id, wrong)
    starttls.stop()
    with pytest.raises(ApplicationError, match="ConnectionRefusedError") as down:
        await send(store, due.id, email)
    assert not unknown.value.non_retryable and not down.value.non_retryable
    starttls.start(starttls.port)
    await send(store, due.id, email)
    assert [each["To"] for each in starttls.taken] == ["desk@example.com"]
    assert (await listed(store))["desk@example.com"].attempts == 3


async def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    store: Store, mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = settings_of(mailbox, tmp_path)
    await spread(store, await ask(store), None, email)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ApplicationError, match="SSLCertVerificationError"):
        await send(store, (await store.notices.due(BOTH))[0].id, email)
    assert mailbox.taken == [] and mailbox.refused == []


async def test_a_notice_that_reaches_nobody_says_so(
    store: Store, starttls: Mailbox, tmp_path: Path
) -> None:
    email = settings_of(starttls, tmp_path, EVERLOOP_EMAIL_TO="")
    await spread(store, await ask(store, terms=Terms()), None, email)
    (found,) = (await listed(store)).values()
    assert (found.state, found.error, found.channel) == (NoticeState.FAILED, NOBODY, "email")


async def test_no_name_makes_a_header(store: Store, starttls: Mailbox, tmp_path: Path) -> None:
    email = settings_of(starttls, tmp_path)
    await spread(store, await ask(store), None, email)
    found = (await listed(store))["ada@example.com"]
    evil = "x\r\nBcc: eve@example.com\r\n\r\nHello\u2028\u202e\x00" + "y" * 200
    decision = replace(found.decision, tool=evil, decided_by=evil, harness_id=evil)
    mail = mail_of(replace(found, decision=decision), email)
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "References", "Auto-Submitted"),
        *("MIME-Version", "Content-Type"),
    }
    assert b"\nBcc" not in mail.as_bytes() and len(mail["Subject"]) <= 120
    assert "\u202e" not in str(mail.get_body(("plain",)))
