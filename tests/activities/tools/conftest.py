"""A session with tool calls in a real store, and a sandbox host that runs them."""

import dataclasses
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.tools.runner import CallRunner
from activities.tools.sandbox import SandboxTools
from contracts.extensions import HarnessExtensions
from contracts.harness import Environment, HarnessConfig, Overrides, RunConfig
from contracts.messages import Message, StopReason, TextBlock, TokenUsage, ToolUseBlock
from contracts.records import CallRecord, NewCall
from contracts.tools import ToolKind
from contracts.turn import ToolCall
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from store import Store, migrate

SESSION = "session:000000000000:agent-0123456789:one"


class Calls:
    """Asks for tool calls as a model would, and runs them as Temporal would."""

    def __init__(self, store: Store, host: SandboxHost) -> None:
        self.host = host
        self.store = store
        self.runner = CallRunner(store, host)
        self.tools = SandboxTools(self.runner, host)
        self._step = -1

    async def begin(
        self, variables: dict[str, str], extensions: HarnessExtensions | None = None
    ) -> None:
        run = RunConfig.merge(
            harness_arn="arn:aws:bedrock-agentcore:us-east-1:000000000000:harness/agent-0123456789",
            harness_name="agent",
            harness_version="1",
            actor_id="default",
            config=HarnessConfig(
                execution_role_arn="arn:aws:iam::000000000000:role/any",
                environment=Environment(variables=variables),
                extensions=extensions or HarnessExtensions(),
            ),
            overrides=Overrides(),
        )
        await self.store.turns.admit(
            session=SESSION,
            account="000000000000",
            harness_id="agent-0123456789",
            runtime_session_id="one",
            invocation_id="i",
            request_digest="d",
            config_digest=await self.store.configs.put(run),
            messages=[Message(role="user", blocks=(TextBlock(text="go"),))],
        )
        await self.store.turns.open(SESSION, "i")

    async def ask(
        self, name: str, *inputs: dict[str, Any], invocation: str = "i", step: int | None = None
    ) -> list[str]:
        self._step += 1
        at = self._step if step is None else step
        ids = [f"call-{self._step}-{number}" for number in range(len(inputs))]
        blocks = [
            ToolUseBlock(id=id, name=name, input=input)
            for id, input in zip(ids, inputs, strict=True)
        ]
        start = await self.store.turns.begin_step(SESSION, invocation, at)
        await self.store.turns.commit_step(
            SESSION,
            invocation,
            at,
            start.attempt,
            message=Message(
                role="assistant", blocks=tuple(blocks), stop_reason=StopReason.TOOL_USE
            ),
            calls=[NewCall(block, ToolKind.SANDBOX, "sandbox-here", 60) for block in blocks],
            usage=TokenUsage(),
            latency_ms=1,
            model_id="m",
        )
        return ids

    def activity(self) -> ActivityEnvironment:
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(environment.info, workflow_id=SESSION)
        return environment

    async def run(self, id: str, activity: ActivityEnvironment | None = None) -> CallRecord:
        await (activity or self.activity()).run(self.tools.run_tool, ToolCall("i", id))
        return await self.store.calls.get(SESSION, id)

    async def move_to(self, host: str) -> None:
        """Have another host take the session over."""
        await self.host.stop(SESSION)
        record = await self.store.environments.get(SESSION)
        assert record is not None
        moved = dataclasses.replace(record, host=host, generation=record.generation + 1)
        await self.store.environments.put(moved, expected_generation=record.generation)
        await self.store.environments.beat(host, lease_s=60)

    async def do(self, name: str, **input: Any) -> CallRecord:
        (id,) = await self.ask(name, input)
        return await self.run(id)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def store(tmp_path: Path, empty_database: Path) -> AsyncIterator[Store]:
    shutil.copy(empty_database, tmp_path / "store.db")
    opened = await Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    await opened.close()


@pytest.fixture
async def host(store: Store, tmp_path: Path) -> AsyncIterator[SandboxHost]:
    provider = Bubblewrap(tmp_path / "data")
    async with SandboxHost(
        store, data_dir=tmp_path / "data", host_id="here", provider=provider
    ) as owner:
        yield owner
    await provider.stop_orphans(())


@pytest.fixture
async def calls(store: Store, host: SandboxHost) -> AsyncIterator[Calls]:
    asked = Calls(store, host)
    await asked.begin({"GREETING": "hello"})
    yield asked
    await asked.runner.close()
