"""A session's log over HTTP while it is written: retractions, stalled readers, bad requests."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.own import sse
from contracts.messages import Message, StopReason, TextBlock
from everloop.session_events import SessionEvent, parse
from store import migrate
from tests.api.live import Live, Turn, drain, live_server
from tests.api.raw import call

SESSION = "s" * 33


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


def path(arn: str, query: str = "") -> str:
    return f"/everloop/v1/harnesses/{arn.rpartition('/')[2]}/sessions/{SESSION}/events{query}"


async def read(live: Live, arn: str, query: str = "") -> list[SessionEvent]:
    answer = await asyncio.to_thread(call, live.port, "GET", path(arn, query))
    assert answer.status == 200, answer.body
    return list(parse([answer.body]))


def reply(text: str) -> Message:
    blocks = (TextBlock(text=text),)
    return Message(role="assistant", blocks=blocks, stop_reason=StopReason.END_TURN)


async def test_a_retraction_is_told_before_what_takes_its_place(live: Live):
    seen = asyncio.Event()

    async def dies_once(turn: Turn) -> None:
        await turn.open()
        await turn.begin()
        await turn.stream("Once")
        await asyncio.wait_for(seen.wait(), 20)
        await turn.begin()
        await turn.stream("Twice")
        await turn.commit(reply("Twice"))
        await turn.close()

    live.sessions.play = dies_once
    arn = await live.harness()
    answer = await live.invoke(arn)
    reader = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", live.port))
    invocation_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-everloop-invocation-id"]
    query = f"?follow=true&invocationId={invocation_id}"
    ask = f"GET {path(arn, query)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    told = b""
    with reader:
        await asyncio.to_thread(reader.sendall, ask.encode())
        while b'"Once"' not in told:
            told += await asyncio.to_thread(reader.recv, 65536)
        seen.set()
        while piece := await asyncio.to_thread(reader.recv, 65536):
            told += piece
    # Chunk sizes of the HTTP body stand between the events' lines and are no fields.
    kinds = [event.kind for event in parse([told.replace(b"\r\n", b"\n")])]
    assert kinds.index("attempt") > kinds.index("delta")
    assert kinds[-2:] == ["message", "end"]
    assert kinds.count("attempt") == 1
    await asyncio.to_thread(drain, answer)

    late = [event.kind for event in await read(live, arn)]
    assert late == ["opened", "message", "end"], "settled messages stand for their pieces"


async def test_a_reader_that_takes_nothing_is_cut_off(
    live: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sse, "STALLED_S", 0.1)
    caplog.set_level(logging.INFO, "api.own.sse")

    async def talks(turn: Turn) -> None:
        await turn.open()
        for step in range(40):
            await turn.begin(step)
            await turn.commit(reply("x" * 500_000), step=step)
        await turn.close()

    live.sessions.play = talks
    arn = await live.harness()
    await live.say(arn)
    with socket.create_connection(("127.0.0.1", live.port)) as stalled:
        stalled.sendall(f"GET {path(arn)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(20):
            while not any("was cut off" in record.message for record in caplog.records):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("query", "field"),
    [("?after=-1", "after"), ("?after=x", "after"), ("?follow=yes", "follow")],
)
async def test_bad_cursors_and_choices_are_refused(live: Live, query: str, field: str):
    arn = await live.harness()
    await _one_turn(live, arn)
    answer = await asyncio.to_thread(call, live.port, "GET", path(arn, query))
    assert (answer.status, answer.fields) == (400, [field])


async def test_a_bad_last_event_id_is_refused(live: Live):
    arn = await live.harness()
    await _one_turn(live, arn)
    answer = await asyncio.to_thread(
        call, live.port, "GET", path(arn), None, {"Last-Event-ID": "first"}
    )
    assert (answer.status, answer.fields) == (400, ["Last-Event-ID"])


async def _one_turn(live: Live, arn: str) -> None:
    async def play(turn: Turn) -> None:
        await turn.open()
        await turn.close()

    live.sessions.play = play
    await live.say(arn)
