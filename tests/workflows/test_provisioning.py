"""The provisioning workflow on a real Temporal server, with a store and sandbox hosts."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import workflows.provisioning
from activities.sweep import sweep
from activities.tools.runner import CallRunner
from activities.tools.sandbox import SandboxTools
from contracts.harness import HarnessConfig, Tool, ToolType
from contracts.ids import sandbox_queue
from contracts.messages import StopReason
from contracts.provisioning import Operation
from contracts.records import HarnessRecord
from environments.host import SandboxHost
from environments.volumes import Volumes
from store import Store, migrate
from tests.provisioned import add_namespace, connect, provisioning_worker, temporal_server
from tests.store.play import ACCOUNT, CONFIG, Play, unanswered
from tests.workflows.test_replay import payload_texts
from worker import PASSTHROUGH
from workflows.provisioning import Provisioning

HOST = "here"


@pytest.fixture(scope="module")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with temporal_server(tmp_path_factory.mktemp("temporal") / "log") as address:
        yield address


@dataclass
class Place:
    """A store, a Temporal namespace, and what a test runs in them."""

    store: Store
    client: Client
    data_dir: Path

    @asynccontextmanager
    async def host(self) -> AsyncGenerator[SandboxHost]:
        """A sandbox host that serves its queue."""
        async with AsyncExitStack() as stack:
            host = await stack.enter_async_context(
                SandboxHost(self.store, data_dir=self.data_dir, host_id=HOST)
            )
            tools = SandboxTools(CallRunner(self.store, host), host)
            worker = Worker(
                self.client, task_queue=sandbox_queue(HOST), activities=[tools.drop_environment]
            )
            await stack.enter_async_context(worker)
            yield host

    async def create(self, config: HarnessConfig = CONFIG) -> HarnessRecord:
        """The change is written and its workflow is not started: an API that died in between."""
        return await self.store.harnesses.create(
            ACCOUNT, f"h{uuid4().hex[:8]}", config, client_token=None, params_digest="d"
        )

    async def delete(self, harness_id: str) -> Operation:
        going = await self.store.harnesses.delete(
            ACCOUNT, harness_id, client_token=None, params_digest="d"
        )
        assert going.operation is not None
        return going.operation

    async def settled(self) -> None:
        """Sweep, and wait until nothing is under way."""
        async with asyncio.timeout(30):
            await sweep(self.store, self.client)
            while await self.store.provisioning.under_way():
                await asyncio.sleep(0.02)

    async def status(self, harness_id: str) -> tuple[str, str | None]:
        found = await self.store.harnesses.get(ACCOUNT, harness_id)
        return found.status, found.failure_reason

    def volumes(self) -> list[Path]:
        return list((self.data_dir / "volumes").iterdir())


async def replay(client: Client, workflow_id: str) -> None:
    """Replay the newest run in the sandbox that workers use; it holds references only."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    runner = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
    replayer = Replayer(
        workflows=[Provisioning], workflow_runner=runner, namespace=client.namespace
    )
    await replayer.replay_workflow(history)
    payloads = list(payload_texts(json.loads(history.to_json())))
    assert payloads
    for words in ("Hello", "Sure.", CONFIG.model.chosen.model_id):
        assert not any(words in payload for payload in payloads)


@pytest.fixture
async def place(tmp_path: Path, temporal_address: str) -> AsyncIterator[Place]:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    await asyncio.to_thread(migrate, url)
    namespace = f"test-{uuid4()}"
    await add_namespace(temporal_address, namespace)
    client = await connect(temporal_address, namespace)
    store = await Store.open(url)
    yield Place(store, client, tmp_path / "data")
    await store.close()


def volume(place: Place, session: str) -> Path:
    """Where the host keeps a session's files; this one has some."""
    path, _ = Volumes(place.data_dir / "volumes").ensure(session)
    (path / "file").write_text("work")
    return path


async def test_a_sweep_starts_what_was_written_and_not_started_and_only_once(
    place: Place,
) -> None:
    made = await place.create()
    assert made.operation is not None
    for _ in range(3):
        await sweep(place.store, place.client)
    handle = place.client.get_workflow_handle(made.operation.workflow_id)
    first = (await handle.describe()).run_id
    assert await place.status(made.harness_id) == ("CREATING", None)
    async with provisioning_worker(place.client, place.store):
        await place.settled()
        assert await place.status(made.harness_id) == ("READY", None)
        await handle.result()
    await sweep(place.store, place.client)
    assert (await handle.describe()).run_id == first


async def test_a_workflow_that_was_terminated_is_started_again(place: Place) -> None:
    made = await place.create()
    assert made.operation is not None
    await sweep(place.store, place.client)
    await place.client.get_workflow_handle(made.operation.workflow_id).terminate()
    async with provisioning_worker(place.client, place.store):
        await place.settled()
    assert await place.status(made.harness_id) == ("READY", None)


async def test_a_configuration_that_cannot_be_served_fails_with_the_reason(place: Place) -> None:
    browser = CONFIG.model_copy(update={"tools": (Tool(type=ToolType.BROWSER, name="web"),)})
    made = await place.create(browser)
    async with provisioning_worker(place.client, place.store):
        await place.settled()
        status, why = await place.status(made.harness_id)
        assert status == "CREATE_FAILED" and why and "'web'" in why
        await place.delete(made.harness_id)
        await place.settled()
    listed, _ = await place.store.harnesses.list(ACCOUNT, limit=9, after=None)
    assert listed == []


async def test_a_host_that_is_gone_fails_the_deletion_and_one_that_is_back_ends_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.provisioning, "HOST_WAIT", timedelta(milliseconds=300))
    made = await place.create()
    async with provisioning_worker(place.client, place.store):
        await place.settled()
        plays = [await Play.begin(place.store, made.harness_id) for _ in range(3)]
        await place.store.environments.beat(HOST, lease_s=60)
        for play in plays:
            await play.open("i1")
            await place.store.environments.assign(play.session, HOST)
            assert volume(place, play.session).exists()
        await place.delete(made.harness_id)
        await place.settled()
        status, why = await place.status(made.harness_id)
        assert status == "DELETE_FAILED"
        assert why and "3 sessions" in why and HOST in why and "repeat DeleteHarness" in why
        for play in plays:
            ended = await place.store.turns.invocation(play.session, "i1")
            assert ended and ended.stop_reason is StopReason.INTERRUPTED
        assert len(place.volumes()) == 3, "what could not be asked for is not lost by halves"

        monkeypatch.undo()
        async with place.host():
            going = await place.delete(made.harness_id)
            await place.settled()
            await place.client.get_workflow_handle(going.workflow_id).result()
            await replay(place.client, going.workflow_id)
    assert place.volumes() == []
    listed, _ = await place.store.harnesses.list(ACCOUNT, limit=9, after=None)
    assert listed == []
    for play in plays:
        messages = await play.messages()
        assert messages and unanswered(messages) == []


async def test_a_deletion_goes_on_over_many_pages_and_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.provisioning, "PAGE", 2)
    monkeypatch.setattr(workflows.provisioning, "PAGES_A_RUN", 2)
    made = await place.create()
    async with provisioning_worker(place.client, place.store):
        await place.settled()
        plays = [await Play.begin(place.store, made.harness_id) for _ in range(9)]
        for play in plays:
            await play.open("i1")
        going = await place.delete(made.harness_id)
        await place.settled()
        newest = await place.client.get_workflow_handle(going.workflow_id).describe()
        assert newest.raw_info.first_run_id != newest.run_id
    ended = [await place.store.turns.invocation(play.session, "i1") for play in plays]
    assert {one.stop_reason for one in ended if one} == {StopReason.INTERRUPTED}
