"""Cancelling over HTTP where no run of the session is open."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.messages import StopReason
from store import migrate
from tests.api.live import Live, Turn, drain, live_server
from tests.api.raw import RawAnswer, call

SESSION = "s" * 33


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


async def cancel(live: Live, arn: str, invocation_id: str) -> RawAnswer:
    path = f"harnesses/{arn.rpartition('/')[2]}/sessions/{SESSION}/invocations/{invocation_id}"
    return await asyncio.to_thread(call, live.port, "POST", f"/everloop/v1/{path}/cancel")


async def test_a_turn_whose_run_was_stopped_by_hand_is_ended_in_the_store(live: Live):
    async def stuck(turn: Turn) -> None:
        await turn.open()
        await turn.begin()
        await turn.stream("Once")

    live.sessions.play = stuck
    arn = await live.harness()
    answer = await live.invoke(arn)
    invocation_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-everloop-invocation-id"]
    live.sessions.running = False
    ended = await cancel(live, arn, invocation_id)
    assert ended.status == 200
    assert (ended.json["state"], ended.json["stopReason"]) == ("ended", "interrupted")
    frames = await asyncio.to_thread(drain, answer)
    assert frames[-1] == {"messageStop": {"stopReason": "interrupted"}}
    assert live.sessions.cancelled == [invocation_id]


async def test_a_cancellation_waits_for_the_end_that_the_workflow_brings(live: Live):
    async def stuck(turn: Turn) -> None:
        await turn.open()

    async def end(turn: Turn) -> None:
        await turn.close(StopReason.INTERRUPTED)

    live.sessions.play, live.sessions.on_cancel = stuck, end
    arn = await live.harness()
    answer = await live.invoke(arn)
    invocation_id = answer["ResponseMetadata"]["HTTPHeaders"]["x-everloop-invocation-id"]
    first = await cancel(live, arn, invocation_id)
    again = await cancel(live, arn, invocation_id)
    assert first.json == again.json
    assert live.sessions.cancelled == [invocation_id], "what has ended is not signalled again"
    await asyncio.to_thread(drain, answer)
