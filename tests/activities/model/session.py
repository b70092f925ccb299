"""A session in a real store, and the activity as a worker runs it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.model.call import ModelCalls
from activities.tools.catalog import ToolCatalog
from contracts.events import Delta, Event
from contracts.harness import HarnessConfig, RunConfig
from contracts.ids import session_key
from contracts.messages import Message, TextBlock, ToolStatus
from contracts.settings import Settings
from contracts.turn import ModelCall, ModelReply
from store import Store

SESSION = session_key("0" * 12, "h-abcdefghij", "s" * 33)
INVOCATION = "i-1"
APPROVE = {
    "type": "inline_function",
    "name": "approve",
    "config": {
        "inlineFunction": {
            "description": "Ask.",
            "inputSchema": {
                "type": "object",
                "properties": {"what": {"type": "string"}},
                "required": ["what"],
            },
        }
    },
}


def at(url: str) -> dict[str, Any]:
    """The `model` of a run whose provider is a server of the test's."""
    return {"liteLlmModelConfig": {"modelId": "openai/m", "apiBase": url}}


def run_config(model: dict[str, Any], **members: Any) -> RunConfig:
    config = {
        "executionRoleArn": "arn:aws:iam::000000000000:role/agent",
        "model": model,
        "tools": [APPROVE],
        **members,
    }
    return RunConfig(
        harness_arn="arn:aws:bedrock-agentcore:us-east-1:000000000000:harness/h-abcdefghij",
        harness_name="h",
        harness_version="1",
        actor_id="default",
        config=HarnessConfig.model_validate(config),
    )


@dataclass
class Session:
    """One session with one invocation, open."""

    store: Store
    settings: Settings
    seq: int = 0
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    temporal: ActivityEnvironment = field(default_factory=ActivityEnvironment)

    async def open(self, run: RunConfig, text: str, invocation_id: str = INVOCATION) -> None:
        digest = await self.store.configs.put(run)
        await self.store.turns.admit(
            session=SESSION,
            account="0" * 12,
            harness_id="h-abcdefghij",
            runtime_session_id="s" * 33,
            invocation_id=invocation_id,
            request_digest=invocation_id,
            config_digest=digest,
            messages=[Message(role="user", blocks=(TextBlock(text=text),))],
        )
        self.seq = (await self.store.turns.open(SESSION, invocation_id)).seq

    async def call(self, step: int = 0, invocation_id: str = INVOCATION) -> ModelReply:
        self.temporal.info = replace(self.temporal.info, workflow_id=SESSION)
        calls = ModelCalls(self.store, self.settings, ToolCatalog(self.store, "local"), self.env)
        reply = await self.temporal.run(calls.call_model, ModelCall(invocation_id, step, self.seq))
        assert isinstance(reply, ModelReply)
        return reply

    async def answer(self, reply: ModelReply, text: str = "done") -> None:
        for call in reply.calls:
            await self.store.calls.start(SESSION, call.id, "boot")
            await self.store.calls.finish(
                SESSION, call.id, status=ToolStatus.SUCCESS, content=[text]
            )
        self.seq = reply.seq + 1

    async def events(self) -> tuple[Event, ...]:
        return await self.store.log.read(SESSION, after=0)

    async def streamed(self) -> str:
        deltas = [e.payload for e in await self.events() if isinstance(e.payload, Delta)]
        return "".join(piece.text or "" for delta in deltas for piece in delta.pieces)

    async def note(self) -> str | None:
        return await self.store.turns.failure_note(SESSION, INVOCATION)
