"""Which files a turn's tool calls touched, listed while everything else goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from activities.tools.before_call import BeforeCalls
from activities.tools.runner import CallRunner
from activities.tools.sandbox import SandboxTools
from contracts.errors import AwsError, ErrorDetail
from contracts.messages import Message, StopReason, TextBlock
from contracts.turn import ToolCall
from contracts.turn_files import TurnFiles
from environments import agentd_scan, turn_files
from environments.host import SandboxHost
from environments.snapshot_work import SnapshotWork
from environments.turn_files import TurnFilesWatch
from store import Store
from tests.activities.tools.conftest import SESSION, Calls
from tests.environments.sandboxes import SPEC, run


@pytest.fixture
async def watch(store: Store, host: SandboxHost) -> AsyncIterator[TurnFilesWatch]:
    async with TurnFilesWatch(store, host) as watching:
        yield watching


@pytest.fixture
def watched(calls: Calls, watch: TurnFilesWatch) -> Calls:
    calls.tools = tools(calls.store, calls.host, watch)
    return calls


def tools(store: Store, host: SandboxHost, watch: TurnFilesWatch) -> SandboxTools:
    before = BeforeCalls(store, watch, SnapshotWork(host))
    return SandboxTools(CallRunner(store, host, before=before), host)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def end(calls: Calls, invocation: str = "i") -> TurnFiles:
    await calls.store.turns.close(
        SESSION, invocation, stop_reason=None, error=ErrorDetail(AwsError.INTERNAL, "over")
    )
    return await settled(calls.store, invocation)


async def settled(store: Store, invocation: str = "i") -> TurnFiles:
    found = None

    async def is_settled() -> bool:
        nonlocal found
        found = await store.turn_files.get(SESSION, invocation)
        return found is not None and found.settled

    await eventually(is_settled)
    assert found is not None
    return found


async def begin(calls: Calls, invocation: str) -> None:
    first = await calls.store.turns.invocation(SESSION, "i")
    assert first is not None
    await calls.store.turns.admit(
        session=SESSION,
        account="000000000000",
        harness_id="agent-0123456789",
        runtime_session_id="one",
        invocation_id=invocation,
        request_digest="d",
        config_digest=first.config_digest,
        messages=[Message(role="user", blocks=(TextBlock(text="go"),))],
    )
    await calls.store.turns.open(SESSION, invocation)


def told(found: TurnFiles) -> list[tuple[str, str]]:
    return [(each.path, each.change.value) for each in found.files]


async def test_what_calls_create_change_and_remove_is_listed_with_their_turn(
    watched: Calls,
) -> None:
    async with watched.host.use(SESSION, SPEC) as environment:
        await run(environment, "echo a > old; echo b > gone")
    await watched.do("shell", command="echo new > made; rm gone; mkdir d; touch d/f .hidden")
    await watched.do(
        "file_operations", command="create", path="/mnt/session/old", file_text="other"
    )
    found = await end(watched)
    assert told(found) == [
        ("d/f", "created"),
        ("gone", "removed"),
        ("made", "created"),
        ("old", "changed"),
    ]
    assert (found.created, found.changed, found.removed, found.incomplete) == (2, 1, 1, None)


async def test_a_list_grows_with_the_calls_and_takes_in_what_goes_on_in_the_background(
    watched: Calls,
) -> None:
    await watched.do("shell", command="touch one; (sleep 0.5; touch later) >/dev/null 2>&1 &")

    async def has_one() -> bool:
        found = await watched.store.turn_files.get(SESSION, "i")
        return found is not None and ("one", "created") in told(found) and not found.settled

    await eventually(has_one)
    await watched.do("shell", command="sleep 0.6")
    assert told(await end(watched)) == [("later", "created"), ("one", "created")]


async def test_the_next_turn_has_a_list_of_its_own(watched: Calls) -> None:
    await watched.do("shell", command="touch first")
    await watched.store.turns.close(SESSION, "i", stop_reason=StopReason.END_TURN, error=None)
    await begin(watched, "j")
    (id,) = await watched.ask(
        "shell", {"command": "touch second; rm first"}, invocation="j", step=0
    )
    await watched.activity().run(watched.tools.run_tool, ToolCall("j", id))
    assert told(await settled(watched.store)) == [("first", "created")]
    assert told(await end(watched, "j")) == [("first", "removed"), ("second", "created")]


async def test_a_turn_without_changes_and_a_turn_that_only_reads(watched: Calls) -> None:
    await watched.do("file_operations", command="view", path="/mnt/session")
    assert await watched.store.turn_files.get(SESSION, "i") is None
    await watched.do("shell", command="true")
    assert await end(watched) == TurnFiles(settled=True)


async def test_the_next_host_process_goes_on_with_the_list(
    calls: Calls, store: Store, host: SandboxHost
) -> None:
    dead = TurnFilesWatch(store, host)
    calls.tools = tools(store, host, dead)
    await calls.do("shell", command="touch before")
    async with TurnFilesWatch(store, host) as watch:
        calls.tools = tools(store, host, watch)
        await calls.do("shell", command="touch after")
        assert told(await end(calls)) == [("after", "created"), ("before", "created")]


async def test_a_host_that_finds_a_turn_ended_settles_it(
    calls: Calls, store: Store, host: SandboxHost
) -> None:
    dead = TurnFilesWatch(store, host)
    calls.tools = tools(store, host, dead)
    await store.environments.assign(SESSION, None)
    await calls.do("shell", command="touch made")
    await store.turns.close(SESSION, "i", stop_reason=StopReason.END_TURN, error=None)
    async with TurnFilesWatch(store, host):
        assert told(await settled(store)) == [("made", "created")]


async def test_a_host_without_the_note_of_the_beginning_says_what_it_cannot_know(
    calls: Calls, store: Store, host: SandboxHost, tmp_path: Path
) -> None:
    calls.tools = tools(store, host, TurnFilesWatch(store, host))
    await calls.do("shell", command="touch before")
    for note in (tmp_path / "data").rglob("turn-*.json"):
        note.unlink()
    async with TurnFilesWatch(store, host) as watch:
        calls.tools = tools(store, host, watch)
        await calls.do("shell", command="touch after")
        found = await end(calls)
    assert told(found) in ([("after", "created")], [])
    assert found.incomplete is not None and "note of the files" in found.incomplete


async def test_a_volume_that_is_too_large_has_no_list_and_its_calls_run(
    watched: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agentd_scan, "NAMES_MAX", 3)
    done = await watched.do("shell", command="touch a b c d e")
    assert '"exit_code": 0' in done.content[0]
    found = await end(watched)
    assert found.files == ()
    assert found.incomplete == (
        "Not all is listed: the session has more than 3 files and directories."
    )


async def test_notes_beside_the_volume_go_with_the_turn(watched: Calls, tmp_path: Path) -> None:
    await watched.do("shell", command="touch a")
    assert len(list((tmp_path / "data").rglob("turn-*.json"))) == 1
    await end(watched)

    async def gone() -> bool:
        return not list((tmp_path / "data").rglob("turn-*.json"))

    await eventually(gone)


async def test_the_beginning_of_a_large_volume_is_read_from_the_note(
    watched: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_files, "REMEMBERED_MAX", 1)
    async with watched.host.use(SESSION, SPEC) as environment:
        await run(environment, "touch a b c")
    await watched.do("shell", command="rm a; touch d")
    await watched.do("shell", command="rm b")
    assert told(await end(watched)) == [("a", "removed"), ("b", "removed"), ("d", "created")]
