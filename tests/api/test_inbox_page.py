"""The inbox as a person with a browser has it: pages that are read, and forms that are sent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from contracts.approvals import Deciders, Escalation, Terms
from contracts.decisions import CastVote, Gate
from store import migrate
from tests.api.live import Live, live_server
from tests.api.raw import RawAnswer, call
from tests.store.play import Play, inline, sandbox

INBOX = "/everloop/v1/decisions"
OBJECT = {
    "type": "object",
    "properties": {"command": {"type": "string"}},
    "required": ["command"],
}


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:

        async def counts(session: str, vote: CastVote) -> None:
            await server.store.decisions.count(session, vote.decision_id, vote.vote_id)

        server.sessions.decide = counts  # type: ignore[method-assign]
        yield server


class Page(HTMLParser):
    """What a browser makes of a page: texts, links, and the fields of its last form."""

    def __init__(self, answer: RawAnswer) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.fields: dict[str, str] = {}
        self.buttons: list[str] = []
        self.action = ""
        self._area = ""
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        self.feed(answer.body.decode())
        self.text = " ".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        match tag:
            case "a":
                self.links.append(given["href"])
            case "form":
                self.action, self.fields, self.buttons = given["action"], {}, []
            case "input" if given.get("type") != "checkbox":
                self.fields[given["name"]] = given["value"]
            case "textarea":
                self._area = given["name"]
                self.fields[self._area] = ""
            case "button":
                self.buttons.append(given.get("value", ""))
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] += data
        else:
            self.texts.append(data.strip())


async def look(live: Live, path: str) -> Page:
    accept = {"accept": "text/html,application/xhtml+xml"}
    answer = await asyncio.to_thread(call, live.port, "GET", path, None, accept)
    assert answer.status == 200, answer.body
    return Page(answer)


async def press(live: Live, page: Page, button: str, **typed: str) -> RawAnswer:
    body = urlencode({**page.fields, **typed, "decision": button}).encode()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "origin": f"http://127.0.0.1:{live.port}",
    }
    return await asyncio.to_thread(call, live.port, "POST", page.action, body, headers)


async def asked(live: Live, command: str = "risky", **terms: Any) -> Page:
    """The page of a call that waits."""
    play = await Play.begin(live.store)
    gate = Gate(terms=Terms(**terms), parameters=OBJECT)
    await play.ask_person("i1", replace(sandbox(command), gate=gate))
    (link,) = [each for each in (await look(live, INBOX)).links if f"{INBOX}/" in each]
    return await look(live, link)


async def test_a_person_finds_a_call_reads_what_led_to_it_and_approves(live: Live):
    page = await asked(live, deciders=Deciders(roles=("finance",)))
    assert "role finance" in page.text
    assert "Sure." in page.text
    assert page.buttons == ["approve", "reject"]
    answer = await press(live, page, "approve", user="ada", roles="finance", reason="fine by me")
    assert answer.status == 303
    after = await look(live, answer.headers["location"])
    assert "approved" in after.text and "fine by me" in after.text and "ada" in after.text
    assert after.buttons == []
    listed = await look(live, INBOX)
    assert "Nothing is open." in listed.text


async def test_a_page_says_all_that_a_decider_has_to_know(live: Live):
    board = Escalation(deciders=Deciders(roles=("board",)))
    terms: dict[str, Any] = {
        "required": 2,
        "deadline_seconds": 60,
        "on_timeout": "escalate",
        "escalate_to": board,
    }
    page = await asked(live, **terms)
    told = (await asyncio.to_thread(call, live.port, "GET", INBOX)).json["decisions"][0]
    for member in ("harnessId", "harnessVersion", "runtimeSessionId", "invocationId", "toolUseId"):
        assert told[member] in page.text
    for words in (told["digest"], "then escalate to role board", "0 of 2 agreed"):
        assert words in page.text
    answer = await press(live, page, "approve", user="ada", arguments='{"command": "ls"}')
    after = await look(live, answer.headers["location"])
    assert "Asked for by the model" in after.text and '"risky"' in after.text
    assert '"ls"' in after.text, "the vote's own arguments"


async def test_edited_arguments_are_what_runs(live: Live):
    page = await asked(live)
    answer = await press(live, page, "approve", arguments='{\r\n "command": "ls"\r\n}')
    assert answer.status == 303
    (decision,) = (
        await asyncio.to_thread(call, live.port, "GET", f"{INBOX}?status=approved")
    ).json["decisions"]
    assert decision["arguments"] == {"command": "ls"}


async def test_a_form_that_is_sent_twice_is_one_vote(live: Live):
    page = await asked(live, required=2)
    for _ in range(2):
        assert (await press(live, page, "approve", user="ada")).status == 303
    assert "1 of 2 agreed" in (await look(live, page.action.removesuffix("/votes"))).text


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    [
        ({"user": "eve"}, 403, "eve"),
        ({"user": "ada", "arguments": "{"}, 400, "arguments: must be JSON"),
        ({"user": "ada", "arguments": '{"command": 1}'}, 400, "command"),
        ({"user": "ada", "digest": "another"}, 409, "digest"),
    ],
)
async def test_a_refused_vote_keeps_the_form_and_says_why(
    live: Live, typed: dict[str, str], status: int, says: str
):
    page = await asked(live, deciders=Deciders(users=("ada",)))
    answer = await press(live, page, "approve", reason="typed with care", **typed)
    assert answer.status == status
    again = Page(answer)
    assert says in again.text
    assert again.fields["reason"] == "typed with care"
    assert (await press(live, again, "reject", user="ada")).status == 303


async def test_an_inline_function_is_answered_in_words(live: Live):
    play = await Play.begin(live.store)
    await play.ask_person("i1", replace(inline("what?"), gate=Gate()))
    (link,) = [each for each in (await look(live, INBOX)).links if f"{INBOX}/" in each]
    page = await look(live, link)
    assert page.buttons == ["approve", "reject", "answer"]
    assert (await press(live, page, "answer", answer="forty-two")).status == 303
    assert "answered" in (await look(live, link)).text


async def test_what_a_model_wrote_stays_text(live: Live):
    hostile = "</textarea><script>alert(1)</script>'\"&amp;"
    page = await asked(live, hostile)
    assert hostile in page.fields["arguments"].replace('\\"', '"')
    listed = await asyncio.to_thread(call, live.port, "GET", INBOX, None, {"accept": "text/html"})
    assert b"<script" not in listed.body


async def test_a_form_of_another_site_is_refused(live: Live):
    page = await asked(live)
    body = urlencode({**page.fields, "decision": "approve"}).encode()
    for origin in ("https://evil.example", "null"):
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": origin}
        refused = await asyncio.to_thread(call, live.port, "POST", page.action, body, headers)
        assert (refused.status, refused.error) == (403, "AccessDeniedException")


async def test_who_looks_on_is_named_in_the_address(live: Live):
    await asked(live, deciders=Deciders(users=("ada",)))
    mine = await look(live, f"{INBOX}?mine=true&user=ada")
    assert any("user=ada" in link for link in mine.links)
    theirs = await look(live, f"{INBOX}?mine=true&user=eve")
    assert "Nothing is open." in theirs.text
    unnamed = await asyncio.to_thread(
        call, live.port, "GET", f"{INBOX}?user=two+words", None, {"accept": "text/html"}
    )
    assert unnamed.status == 400 and "user" in unnamed.fields
