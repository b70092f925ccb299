"""Snapshots that rules want before calls: made once, before the call, or the call does not run."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from activities.tools.before_call import BeforeCalls
from activities.tools.runner import CallRunner
from activities.tools.sandbox import SandboxTools
from contracts.extensions import HarnessExtensions
from contracts.messages import ToolStatus
from environments import agentd_archive, snapshots
from environments.host import SandboxHost
from environments.snapshot_work import SnapshotWork
from environments.snapshots import Snapshot
from environments.turn_files import TurnFilesWatch
from store import Store
from tests.activities.tools.conftest import SESSION, Calls

RULES = {
    "before": [
        {
            "tools": ["shell"],
            "name": "before removing",
            "when": [{"path": "/command", "operator": "matches", "value": r"\brm\b"}],
        },
        {"tools": ["file_operations"]},
    ],
    "keep": 2,
}


@pytest.fixture
async def ruled(store: Store, host: SandboxHost) -> Calls:
    asked = Calls(store, host)
    before = BeforeCalls(store, TurnFilesWatch(store, host), SnapshotWork(host))
    asked.tools = SandboxTools(CallRunner(store, host, before=before), host)
    await asked.begin({}, HarnessExtensions.model_validate({"snapshots": RULES}))
    return asked


def made(host: SandboxHost) -> list[Snapshot]:
    return snapshots.listed(host.volume(SESSION).archives)


async def test_a_call_that_a_rule_selects_can_be_undone(ruled: Calls) -> None:
    await ruled.do("shell", command="echo precious > f")
    assert made(ruled.host) == []
    done = await ruled.do("shell", command="rm f")
    (snapshot,) = made(ruled.host)
    assert (snapshot.call_id, snapshot.label) == (done.id, "before removing")
    assert done.snapshot_id == snapshot.id
    volume = ruled.host.volume(SESSION).archives
    assert not (volume / "f").exists()
    archive = snapshots.checked_archive(volume, snapshot.id)
    with snapshots.unpacked(volume, os.getuid(), archive) as fresh:
        assert (fresh / "f").read_text() == "precious\n"


async def test_a_call_that_reads_is_not_risky(ruled: Calls) -> None:
    await ruled.do("file_operations", command="view", path="/mnt/session")
    assert made(ruled.host) == []
    done = await ruled.do("file_operations", command="create", path="/mnt/session/f", file_text="x")
    (snapshot,) = made(ruled.host)
    assert (snapshot.id, snapshot.label) == (done.snapshot_id, "before file_operations")


async def test_a_call_that_is_tried_again_makes_one_snapshot(
    ruled: Calls, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host dies after the snapshot and before the call: files changed meanwhile or not."""
    (id,) = await ruled.ask("shell", {"command": "rm -f f; echo done >> effects"})
    start = store.calls.start

    async def die(*_: object) -> None:
        raise ConnectionError("the database went away")

    monkeypatch.setattr(store.calls, "start", die)
    with pytest.raises(ConnectionError):
        await ruled.run(id)
    first = made(ruled.host)
    monkeypatch.setattr(store.calls, "start", start)
    await ruled.run(id)
    again = await ruled.run(id)
    assert made(ruled.host) == first and len(first) == 1
    assert again.snapshot_id == first[0].id
    assert (ruled.host.volume(SESSION).archives / "effects").read_text() == "done\n"


async def test_the_oldest_of_rules_go_and_those_of_people_stay(ruled: Calls) -> None:
    await ruled.do("shell", command="true")
    where = ruled.host.volume(SESSION, "/mnt/session")
    asked_for = await snapshots.create(where, "snap-" + "a" * 32, "mine")
    for number in range(4):
        await ruled.do("shell", command=f"rm -f {number}")
    kept = made(ruled.host)
    assert kept[0] == asked_for
    assert [each.call_id for each in kept[1:]] == ["call-3-0", "call-4-0"]


async def test_calls_of_one_message_each_have_one(ruled: Calls) -> None:
    await ruled.do("shell", command="true")
    ids = await ruled.ask("shell", {"command": "rm -f a"}, {"command": "rm -f b"})
    await asyncio.gather(*(ruled.run(id) for id in ids))
    assert {each.call_id for each in made(ruled.host)} == set(ids)


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(agentd_archive, "CONTENT_BYTES", 10)


async def test_a_call_whose_snapshot_cannot_be_made_does_not_run_and_says_so(
    ruled: Calls, too_large: Callable[[], None], tmp_path: Path
) -> None:
    await ruled.do("shell", command="head -c 100 /dev/zero > f")
    too_large()
    refused = await ruled.do("shell", command="rm f; touch effect")
    assert refused.status is ToolStatus.ERROR and refused.boot_id is None
    assert refused.content[0].startswith("Error: the call was not run: the rules of this harness")
    volume = ruled.host.volume(SESSION).archives
    assert [each.name for each in volume.iterdir()] == ["f"]
    assert made(ruled.host) == [] and refused.snapshot_id is None
