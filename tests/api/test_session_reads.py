"""Sessions over HTTP: lists with filters and pages, one session, transcript and export."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Message, StopReason, TextBlock, ToolUseBlock
from contracts.records import NewCall
from contracts.tools import ToolKind
from everloop.sessions import Sessions
from store import migrate
from tests.api.live import Live, Turn, live_server
from tests.api.raw import RawAnswer, call
from tests.everloop_command import run_everloop


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


def client(live: Live) -> Sessions:
    return Sessions.at(f"http://127.0.0.1:{live.port}")


async def get(live: Live, path: str) -> RawAnswer:
    return await asyncio.to_thread(call, live.port, "GET", f"/everloop/v1/{path}")


def named(number: int) -> str:
    return f"session-{number}".ljust(33, "0")


async def asks_a_person(turn: Turn) -> None:
    await turn.open()
    await turn.begin()
    block = ToolUseBlock(id="ask-1", name="approve", input={"what": "ship"})
    asked = Message(role="assistant", blocks=(block,), stop_reason=StopReason.TOOL_USE)
    await turn.commit(asked, NewCall(block, ToolKind.INLINE, None, 60))
    await turn.hand_over()
    await turn.close(StopReason.TOOL_USE)


async def answers(turn: Turn) -> None:
    await turn.open()
    await turn.begin()
    blocks = (TextBlock(text="Hi \U0001f600"),)
    await turn.commit(Message(role="assistant", blocks=blocks, stop_reason=StopReason.END_TURN))
    await turn.close()


async def sessions_of_every_state(live: Live) -> str:
    arn = await live.harness()
    live.sessions.play = answers
    await live.say(arn, runtimeSessionId=named(0), actorId="ann")
    live.sessions.play = asks_a_person
    await live.say(arn, runtimeSessionId=named(1), actorId="bob")

    async def stays_open(turn: Turn) -> None:
        await turn.open()

    live.sessions.play = stays_open
    answer = await live.invoke(arn, runtimeSessionId=named(2), actorId="ann")
    answer["stream"].close()
    return arn.rpartition("/")[2]


async def test_sessions_are_listed_by_state_actor_and_time(live: Live):
    harness_id = await sessions_of_every_state(live)
    of = client(live)

    def ids(**wanted: Any) -> list[str]:
        return [one["runtimeSessionId"] for one in of.list(harness_id, **wanted)]

    def check() -> None:
        assert ids() == [named(2), named(1), named(0)]
        assert ids(state="idle") == [named(0)]
        assert ids(state="waiting") == [named(1)]
        assert ids(state="running") == [named(2)]
        assert ids(actor_id="ann") == [named(2), named(0)]
        now = datetime.now(UTC)
        assert ids(created_after=now) == []
        assert ids(created_before=now, state="idle") == [named(0)]
        assert len(list(of.list())) == 3

    await asyncio.to_thread(check)


async def test_pages_survive_sessions_that_begin_meanwhile(live: Live):
    live.sessions.play = answers
    arn = await live.harness()
    harness_id = arn.rpartition("/")[2]
    for number in range(3):
        await live.say(arn, runtimeSessionId=named(number))
    first = (await get(live, f"harnesses/{harness_id}/sessions?maxResults=2")).json
    assert [one["runtimeSessionId"] for one in first["sessions"]] == [named(2), named(1)]
    await live.say(arn, runtimeSessionId=named(3))
    query = f"maxResults=2&nextToken={first['nextToken']}"
    rest = (await get(live, f"harnesses/{harness_id}/sessions?{query}")).json
    assert [one["runtimeSessionId"] for one in rest["sessions"]] == [named(0)]
    assert rest["nextToken"] is None
    bad = await get(live, f"harnesses/{harness_id}/sessions?nextToken=garbage")
    assert (bad.status, bad.fields) == (400, ["nextToken"])


async def test_one_session_tells_its_state_sums_and_what_waits(live: Live):
    harness_id = await sessions_of_every_state(live)
    found = await asyncio.to_thread(client(live).get, harness_id, named(1))
    assert (found["state"], found["messages"], found["actorId"]) == ("waiting", 2, "bob")
    assert found["usage"]["modelCalls"] == 1
    (pending,) = found["pendingCalls"]
    assert (pending["toolUseId"], pending["input"]) == ("ask-1", {"what": "ship"})
    invocations = await asyncio.to_thread(
        lambda: list(client(live).invocations(harness_id, named(1)))
    )
    assert [(one["state"], one["stopReason"]) for one in invocations] == [("ended", "tool_use")]
    one = await get(
        live,
        f"harnesses/{harness_id}/sessions/{named(1)}/invocations/{invocations[0]['invocationId']}",
    )
    assert one.json == invocations[0]


async def test_a_transcript_is_read_in_pages_and_can_be_sent_again(live: Live):
    live.sessions.play = answers
    arn = await live.harness()
    harness_id = arn.rpartition("/")[2]
    for _ in range(3):
        await live.say(arn, runtimeSessionId=named(0))
    path = f"harnesses/{harness_id}/sessions/{named(0)}/transcript"
    first = (await get(live, f"{path}?limit=4")).json
    assert [one["seq"] for one in first["messages"]] == [1, 2, 3, 4]
    rest = (await get(live, f"{path}?limit=4&after_seq={first['nextSeq']}")).json
    assert [one["seq"] for one in rest["messages"]] == [5, 6]
    assert rest["nextSeq"] is None
    whole = await asyncio.to_thread(lambda: list(client(live).transcript(harness_id, named(0))))
    assert whole == first["messages"] + rest["messages"]
    again = [{"role": one["role"], "content": one["content"]} for one in whole[:5]]
    await live.say(arn, runtimeSessionId=named(1), messages=again)
    copied = await asyncio.to_thread(lambda: list(client(live).transcript(harness_id, named(1))))
    assert [one["content"] for one in copied[:5]] == [one["content"] for one in whole[:5]]


async def test_an_export_has_everything_and_says_that_it_is_whole(live: Live, tmp_path: Path):
    harness_id = await sessions_of_every_state(live)
    lines = await asyncio.to_thread(lambda: list(client(live).export(harness_id, named(1))))
    assert [line["type"] for line in lines] == [
        "session",
        "invocation",
        "message",
        "message",
        "call",
        "end",
    ]
    assert lines[-2]["state"] == "waiting"
    file = tmp_path / "session.jsonl"
    words = ("export", harness_id, "--session-id", named(1), "--output", str(file))
    url = f"http://127.0.0.1:{live.port}"
    done = await asyncio.to_thread(run_everloop, *words, "--endpoint-url", url)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines


async def test_a_long_session_is_exported_in_pages(live: Live):
    async def talks(turn: Turn) -> None:
        await turn.open()
        for step in range(45):
            await turn.begin(step)
            blocks = (TextBlock(text=f"message {step}"),)
            said = Message(role="assistant", blocks=blocks, stop_reason=StopReason.END_TURN)
            await turn.commit(said, step=step)
        await turn.close()

    live.sessions.play = talks
    arn = await live.harness()
    await live.say(arn, runtimeSessionId=named(0))
    exported = client(live).export(arn.rpartition("/")[2], named(0))
    lines = await asyncio.to_thread(lambda: list(islice(exported, 100)))
    assert [line["seq"] for line in lines if line["type"] == "message"] == list(range(1, 47))
    assert lines[-1] == {"type": "end", "messages": 46}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=busy", "state"),
        ("createdAfter=monday", "createdAfter"),
        ("maxResults=0", "maxResults"),
    ],
)
async def test_bad_filters_are_refused(live: Live, query: str, field: str):
    answer = await get(live, f"sessions?{query}")
    assert (answer.status, answer.fields) == (400, [field])


async def test_what_is_not_there_is_not_found(live: Live):
    arn = await live.harness()
    harness_id = arn.rpartition("/")[2]
    assert (await get(live, f"harnesses/{harness_id}/sessions")).json["sessions"] == []
    for path in (
        "harnesses/other-abcdefghij/sessions",
        f"harnesses/{harness_id}/sessions/{named(9)}",
        f"harnesses/{harness_id}/sessions/{named(9)}/transcript",
        f"harnesses/{harness_id}/sessions/{named(9)}/export",
    ):
        answer = await get(live, path)
        assert (answer.status, answer.error) == (404, "ResourceNotFoundException"), path


async def test_the_commands_show_sessions_and_transcripts(live: Live):
    harness_id = await sessions_of_every_state(live)

    def run(*words: str) -> str:
        done = run_everloop(*words, "--endpoint-url", f"http://127.0.0.1:{live.port}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = await asyncio.to_thread(run, "sessions", "--state", "waiting", "--json")
    assert [one["runtimeSessionId"] for one in json.loads(listed)["sessions"]] == [named(1)]
    one = await asyncio.to_thread(run, "sessions", harness_id, "--session-id", named(1))
    assert "waits: ask-1 approve" in one
    said = await asyncio.to_thread(run, "transcript", harness_id, "--session-id", named(0))
    assert "1 user" in said
    assert "Hi \U0001f600" in said
