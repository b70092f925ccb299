"""What a turn leaves in a session's files, where these are claims of a cluster."""

import asyncio
from pathlib import Path

import pytest

from activities.tools.before_call import BeforeCalls
from activities.tools.runner import CallRunner
from activities.tools.sandbox import SandboxTools
from contracts.extensions import HarnessExtensions
from contracts.messages import StopReason
from contracts.sessions import ForkFiles, ForkOrder
from contracts.turn_files import TurnFiles
from environments import snapshots
from environments.host import SandboxHost
from environments.snapshot_work import SnapshotWork
from environments.turn_files import TurnFilesWatch
from store import Store
from tests.activities.tools.conftest import SESSION, Calls
from tests.environments.kinds import makes
from tests.environments.sandboxes import SPEC, run

FORK = SESSION.replace(":one", ":fork")
STAGED = "a" * 32
RULES = {
    "before": [
        {
            "tools": ["shell"],
            "when": [{"path": "/command", "operator": "matches", "value": r"\brm\b"}],
        }
    ]
}


async def settled(store: Store) -> TurnFiles:
    async with asyncio.timeout(30):
        while True:
            found = await store.turn_files.get(SESSION, "i")
            if found is not None and found.settled:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.thorough
async def test_a_turn_has_its_files_its_snapshots_and_its_forks(
    request: pytest.FixtureRequest, store: Store, tmp_path: Path
) -> None:
    async with makes("kubernetes", request, tmp_path) as make:
        provider = make("data")
        data_dir = tmp_path / "data"
        async with (
            SandboxHost(store, data_dir=data_dir, host_id="here", provider=provider) as host,
            TurnFilesWatch(store, host) as watch,
        ):
            work = SnapshotWork(host)
            calls = Calls(store, host)
            runner = CallRunner(store, host, before=BeforeCalls(store, watch, work))
            calls.tools = SandboxTools(runner, host)
            await calls.begin({}, HarnessExtensions.model_validate({"snapshots": RULES}))
            await calls.do("shell", command="echo precious > f; echo -n x > $'\\xff'")
            removed = await calls.do("shell", command="rm f; echo 2 > made")

            volume = host.volume(SESSION)
            (snapshot,) = snapshots.listed(volume.archives)
            assert (snapshot.call_id, snapshot.id) == (removed.id, removed.snapshot_id)

            await store.turns.close(SESSION, "i", stop_reason=StopReason.END_TURN, error=None)
            found = await settled(store)
            assert [(each.path, each.change.value) for each in found.files] == [
                ("made", "created"),
                ("\N{REPLACEMENT CHARACTER}", "created"),
            ]
            assert found.incomplete is None
            digest = "53c234e5e8472b6ac51c1ae1cab3fe06fad053beb8ebfd8977b010655bfdd3c3"
            assert found.files[0].sha256 == digest

            assert await work.stage(SESSION, FORK, STAGED, snapshot.id, wait_s=20)
            order = ForkOrder(SESSION, FORK, "000000000000", "agent-0123456789", "fork", None, "d")
            await store.forks.fork(order.with_files(ForkFiles(host.name, STAGED)))
            async with host.use(FORK, SPEC) as environment:
                assert environment.forked
                said = await run(environment, "cat f; stat -c %U f; ls")
                assert said.stdout == "precious\nuser\nf\n\N{REPLACEMENT CHARACTER}\n", said.stderr
            for session in (SESSION, FORK):
                await host.delete(session)
            await runner.close()
