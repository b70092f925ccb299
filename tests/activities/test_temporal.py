"""A worker that starts while Temporal is down."""

import asyncio
import logging
from pathlib import Path

import pytest

from activities.retention import schedule_retention
from activities.temporal import connect
from contracts.deletion import RETENTION_SCHEDULE
from contracts.settings import Settings
from tests.provisioned import connect as connect_when_up
from tests.provisioned import temporal_server, unused_port


def at(port: int) -> Settings:
    return Settings.from_env({"EVERLOOP_TEMPORAL_ADDRESS": f"127.0.0.1:{port}"})


async def said(caplog: pytest.LogCaptureFixture, words: str = "waiting for Temporal") -> None:
    while words not in caplog.text:
        await asyncio.sleep(0.01)


async def test_temporal_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    port = unused_port()
    settings = at(port)
    connecting = asyncio.create_task(connect(settings, asyncio.Event()))
    await said(caplog)
    with temporal_server(tmp_path / "log", port=port):
        client = await connecting
        assert client is not None
        assert await client.service_client.check_health()
    assert caplog.text.count("waiting for Temporal") == 1


async def test_the_wait_ends_when_the_process_is_to_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    stop = asyncio.Event()
    settings = at(unused_port())
    connecting = asyncio.create_task(connect(settings, stop))
    await said(caplog)
    stop.set()
    assert await connecting is None


async def test_a_temporal_that_never_comes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activities.temporal.CONNECT_S", 0.1)
    settings = at(unused_port())
    with pytest.raises(RuntimeError, match="Failed client connect"):
        await connect(settings, asyncio.Event())


@pytest.mark.thorough
async def test_retention_is_scheduled_when_temporal_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = unused_port()
    with temporal_server(tmp_path / "first.log", port=port) as address:
        client = await connect_when_up(address)
    scheduling = asyncio.create_task(schedule_retention(client))
    async with asyncio.timeout(60):
        await said(caplog, "retention is not scheduled yet")
    with temporal_server(tmp_path / "second.log", port=port):
        await scheduling
        found = await client.get_schedule_handle(RETENTION_SCHEDULE).describe()
        assert found.info.num_actions == 1
