"""Tool calls that a worker has a sandbox host do at once, over the host's endpoint."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from activities.tools import quick as quick_module
from activities.tools.catalog import call_ref
from activities.tools.quick import QuickCalls
from activities.tools.runner import environment_spec
from contracts.messages import StopReason, ToolStatus
from contracts.records import CallRecord
from contracts.settings import Settings
from contracts.tools import CallState, ToolKind
from contracts.turn import ToolCall
from environments.endpoint import HostEndpoint
from environments.host import SandboxHost
from store import Store
from tests.activities.tools.conftest import SESSION, Calls


@asynccontextmanager
async def serving(calls: Calls, tmp_path: Path, port: int = 0) -> AsyncGenerator[None]:
    settings = Settings("", tmp_path / "data", host_id="here", host_port=port)
    endpoint = HostEndpoint(
        calls.store,
        calls.host,
        settings,
        spec_of=environment_spec,
        finish_call=calls.runner.finish,
    )
    async with endpoint:
        yield


@pytest.fixture
async def quick(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[QuickCalls]:
    """As a worker's, with patience for a machine that does other things."""
    monkeypatch.setattr(quick_module, "QUICK_S", 10.0)
    monkeypatch.setattr(quick_module, "CONNECT_S", 10.0)
    asked = QuickCalls(store)
    yield asked
    await asked.close()


async def tried(calls: Calls, quick: QuickCalls, id: str, host: str = "here") -> bool:
    call = ToolCall("i", id, f"sandbox-{host}")
    return await calls.activity().run(quick.run_quickly, call)


def told(record: CallRecord) -> dict[str, Any]:
    return json.loads("".join(record.content))


async def test_a_short_call_has_its_outcome_at_once(
    calls: Calls, quick: QuickCalls, tmp_path: Path
) -> None:
    (id,) = await calls.ask("shell", {"command": "echo $GREETING"})
    async with serving(calls, tmp_path):
        assert await tried(calls, quick, id)
        assert await tried(calls, quick, id), "a repetition finds the outcome"
    record = await calls.store.calls.get(SESSION, id)
    assert (record.state, told(record)["stdout"]) == (CallState.DONE, "hello\n")


async def test_a_call_that_takes_longer_is_joined_and_runs_once(
    calls: Calls, quick: QuickCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_module, "QUICK_S", 1.0)
    (id,) = await calls.ask("shell", {"command": "echo x >> runs; sleep 2; wc -l < runs"})
    async with serving(calls, tmp_path):
        assert not await tried(calls, quick, id)
        record = await calls.run(id)
    assert (record.status, told(record)["stdout"]) == (ToolStatus.SUCCESS, "1\n")


async def test_a_call_whose_turn_is_closed_is_ended_though_nobody_waits_for_it(
    calls: Calls,
    quick: QuickCalls,
    host: SandboxHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await calls.do("shell", command="true")
    monkeypatch.setattr(quick_module, "QUICK_S", 1.0)
    (id,) = await calls.ask("shell", {"command": "sleep 86414; touch after"})
    async with serving(calls, tmp_path):
        assert not await tried(calls, quick, id)
        await calls.store.turns.close(SESSION, "i", stop_reason=StopReason.INTERRUPTED, error=None)
        environment = host.running(SESSION)
        assert environment is not None
        async with asyncio.timeout(10):
            ended = await environment.attach(id, timeout_s=10)
    assert ended.end == "cancelled"
    assert "cut short" in "".join((await calls.store.calls.get(SESSION, id)).content)


async def test_a_host_that_started_anew_is_found_under_its_new_secret(
    calls: Calls, quick: QuickCalls, store: Store, tmp_path: Path
) -> None:
    one, two, three = await calls.ask("shell", *[{"command": "true"}] * 3)
    async with serving(calls, tmp_path):
        assert await tried(calls, quick, one)
        address = await store.hosts.address("here")
    assert address is not None
    async with serving(calls, tmp_path, port=int(address.url.rpartition(":")[2])):
        assert not await tried(calls, quick, two)
        assert (await store.calls.get(SESSION, two)).state is CallState.REQUESTED
        assert await tried(calls, quick, three)


async def test_a_host_that_is_away_is_left_alone_for_a_while(
    calls: Calls, quick: QuickCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (id,) = await calls.ask("shell", {"command": "true"})
    assert not await tried(calls, quick, id), "it never said where it serves"
    async with serving(calls, tmp_path):
        pass
    monkeypatch.setattr(quick_module, "AGAIN_S", 2.0)
    assert not await tried(calls, quick, id)
    async with serving(calls, tmp_path):
        assert not await tried(calls, quick, id)
        async with asyncio.timeout(10):
            while not await tried(calls, quick, id):
                await asyncio.sleep(0.02)


async def test_a_session_that_another_host_has_is_left_to_it(
    calls: Calls, quick: QuickCalls, store: Store, tmp_path: Path
) -> None:
    await calls.do("shell", command="true")
    (id,) = await calls.ask("shell", {"command": "true"})
    await calls.move_to("there")
    async with serving(calls, tmp_path):
        assert not await tried(calls, quick, id)
    assert (await store.calls.get(SESSION, id)).state is CallState.REQUESTED


def test_only_calls_of_the_sandbox_that_ask_for_no_more_time_are_tried() -> None:
    def quick(kind: ToolKind | None, timeout_s: int) -> bool:
        return call_ref("id", kind, "queue", timeout_s).quick

    assert quick(ToolKind.SANDBOX, 60) and quick(ToolKind.SANDBOX, 300)
    assert not quick(ToolKind.SANDBOX, 301)
    assert not quick(ToolKind.AGENT, 0) and not quick(ToolKind.INLINE, 0)
    assert not quick(None, 0)
