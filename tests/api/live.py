"""A real API server and store within the test, with the workflow's part played by the test."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from api.app import create_app
from api.context import Context
from api.gate import make_gate
from api.provisioning import Provisioner
from api.sessions import Sessions
from contracts.errors import ErrorDetail, ServiceError
from contracts.events import BlockDelta
from contracts.messages import Message, StopReason, TokenUsage, ToolStatus
from contracts.provisioning import Operation
from contracts.records import NewCall, Opening
from contracts.settings import Settings
from contracts.turn import TurnAccepted, TurnRequest
from store import RingSource, Store
from tests.api.conftest import ACCOUNT, client
from tests.provisioned import settle

USAGE = TokenUsage(input_tokens=3, output_tokens=2)


@dataclass
class Turn:
    """One invocation, written to the store as workflow and activities write it."""

    store: Store
    session: str
    invocation_id: str
    attempts: dict[int, int] = field(default_factory=dict[int, int])

    async def open(self) -> Opening:
        return await self.store.turns.open(self.session, self.invocation_id)

    async def begin(self, step: int = 0) -> None:
        start = await self.store.turns.begin_step(self.session, self.invocation_id, step)
        self.attempts[step] = start.attempt

    async def stream(self, text: str, index: int = 0, step: int = 0) -> None:
        pieces = [BlockDelta(block=0, text=text)]
        attempt = self.attempts[step]
        await self.store.turns.append(
            self.session, self.invocation_id, step, attempt, index, pieces
        )

    async def commit(self, message: Message, *calls: NewCall, step: int = 0) -> None:
        await self.store.turns.commit_step(
            self.session,
            self.invocation_id,
            step,
            self.attempts[step],
            message=message,
            calls=calls,
            usage=USAGE,
            latency_ms=7,
            model_id="demo/echo",
        )

    async def finish(self, tool_use_id: str, text: str) -> None:
        await self.store.calls.start(self.session, tool_use_id, "boot")
        await self.store.calls.finish(
            self.session, tool_use_id, status=ToolStatus.SUCCESS, content=[text]
        )

    async def hand_over(self) -> None:
        await self.store.turns.hand_over(self.session, self.invocation_id)

    async def close(
        self, reason: StopReason | None = StopReason.END_TURN, error: ErrorDetail | None = None
    ) -> None:
        await self.store.turns.close(
            self.session, self.invocation_id, stop_reason=reason, error=error
        )


class PlayedSessions(Sessions):
    """Stands for Temporal: runs the test's play for each invocation that is brought."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.play: Callable[[Turn], Awaitable[None]] | None = None
        self.refusal: ServiceError | None = None
        self.running = True
        self.brought: list[tuple[TurnRequest, bool]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.cancelled: list[str] = []
        self.on_cancel: Callable[[Turn], Awaitable[None]] | None = None

    async def invoke(self, session: str, request: TurnRequest, *, waiting: bool) -> TurnAccepted:
        self.brought.append((request, waiting))
        if self.refusal is not None:
            raise self.refusal
        if self.play is not None:
            turn = Turn(self._store, session, request.invocation_id)
            self.tasks.append(asyncio.create_task(_run(self.play, turn)))
        return TurnAccepted(request.invocation_id)

    async def cancel(self, session: str, invocation_id: str) -> bool:
        self.cancelled.append(invocation_id)
        if self.running and self.on_cancel is not None:
            await self.on_cancel(Turn(self._store, session, invocation_id))
        return self.running

    async def runs(self, session: str) -> bool:
        return self.running


class PlayedProvisioner(Provisioner):
    """Stands for Temporal: a change has settled before it is answered, unless it is held."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.held = False

    async def start(self, operation: Operation | None) -> None:
        if not self.held:
            await settle(self._store, operation)


async def _run(play: Callable[[Turn], Awaitable[None]], turn: Turn) -> None:
    await play(turn)


@dataclass
class Live:
    """The server, and boto3 clients that talk to it from threads."""

    port: int
    store: Store
    sessions: PlayedSessions
    provisioner: PlayedProvisioner
    data: Any
    control: Any

    async def harness(self, name: str = "agent", **members: Any) -> str:
        role = f"arn:aws:iam::{ACCOUNT}:role/agent"
        made = await asyncio.to_thread(
            self.control.create_harness, harnessName=name, executionRoleArn=role, **members
        )
        return made["harness"]["arn"]

    async def invoke(self, arn: str, *content: dict[str, Any], **members: Any) -> dict[str, Any]:
        """InvokeHarness; the answer's stream is still open."""
        asked = {
            "harnessArn": arn,
            "runtimeSessionId": "s" * 33,
            "messages": [{"role": "user", "content": list(content) or [{"text": "Hello"}]}],
            **members,
        }
        return await asyncio.to_thread(self.data.invoke_harness, **asked)

    async def say(self, arn: str, *content: dict[str, Any], **members: Any) -> list[dict[str, Any]]:
        """InvokeHarness to its end."""
        answer = await self.invoke(arn, *content, **members)
        return await asyncio.to_thread(drain, answer)


@asynccontextmanager
async def live_server(database: Path, data_dir: Path) -> AsyncGenerator[Live]:
    """Serve a migrated SQLite database on a free port."""
    settings = Settings(f"sqlite:///{database}", data_dir, account=ACCOUNT)
    ring = RingSource.of(settings)
    store = await Store.open(settings.database_url, ring)
    sessions = PlayedSessions(store)
    provisioner = PlayedProvisioner(store)

    @asynccontextmanager
    async def context() -> AsyncGenerator[Context]:
        gate = make_gate(store, settings)
        yield Context(settings, store, sessions, provisioner, ring, gate)

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(create_app(context), log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{port}"
    clients = [client(name, url) for name in ("bedrock-agentcore", "bedrock-agentcore-control")]
    try:
        yield Live(port, store, sessions, provisioner, *clients)
    finally:
        for each in clients:
            each.close()
        for task in sessions.tasks:
            task.cancel()
        await asyncio.gather(*sessions.tasks, return_exceptions=True)
        server.should_exit = True
        await serving
        await store.close()


def with_header(data: Any, name: str, value: str) -> Any:
    """Have every InvokeHarness of a client carry one more header."""

    def add(request: Any, **_: Any) -> None:
        request.headers[name] = value

    data.meta.events.register("before-sign.bedrock-agentcore.InvokeHarness", add)
    return data


def drain(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Every event of an answer that is still to come."""
    try:
        return list(answer["stream"])
    finally:
        answer["stream"].close()
