"""A session in a store, driven the way the workflow and its activities drive it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from contracts.errors import ErrorDetail
from contracts.events import BlockDelta, Event, EventKind
from contracts.harness import HarnessConfig, RunConfig
from contracts.ids import session_key
from contracts.messages import (
    Message,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)
from contracts.records import InvocationRecord, NewCall, Opening
from contracts.tools import ToolKind
from store import Store

ACCOUNT = "000000000000"
HARNESS = "helper-abcdefghij"
CONFIG = HarnessConfig(execution_role_arn="arn:aws:iam::000000000000:role/agent")
RUN = RunConfig(
    harness_arn=f"arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}:harness/{HARNESS}",
    harness_name="helper",
    harness_version="1",
    actor_id="default",
    config=CONFIG,
)
USAGE = TokenUsage(input_tokens=7, output_tokens=3)
_names = count()


def says(text: str) -> Message:
    return Message(role="user", blocks=(TextBlock(text=text),))


def answers(*results: tuple[str, str], text: str | None = None) -> Message:
    blocks: list[ToolResultBlock | TextBlock] = [
        ToolResultBlock(tool_use_id=name, status=ToolStatus.SUCCESS, content=(content,))
        for name, content in results
    ]
    if text is not None:
        blocks.append(TextBlock(text=text))
    return Message(role="user", blocks=tuple(blocks))


def sandbox(name: str, failure: str | None = None) -> NewCall:
    block = ToolUseBlock(id=name, name="shell", input={"command": name})
    return NewCall(block, ToolKind.SANDBOX, "sandbox-local", 60, failure)


def inline(name: str) -> NewCall:
    block = ToolUseBlock(id=name, name="approve", input={"what": name})
    return NewCall(block, ToolKind.INLINE, None, 60)


def reply(*calls: NewCall, text: str = "Sure.") -> Message:
    return Message(
        role="assistant",
        blocks=(TextBlock(text=text), *(call.block for call in calls)),
        stop_reason=StopReason.TOOL_USE if calls else StopReason.END_TURN,
    )


def piece(text: str) -> list[BlockDelta]:
    return [BlockDelta(block=0, text=text)]


@dataclass
class Play:
    store: Store
    session: str
    config_digest: str
    harness_id: str = HARNESS
    attempts: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    @classmethod
    async def begin(cls, store: Store, harness_id: str = HARNESS) -> "Play":
        session = session_key(ACCOUNT, harness_id, f"session-{next(_names):033}")
        return cls(store, session, await store.configs.put(RUN), harness_id)

    async def admit(
        self,
        invocation_id: str,
        *messages: Message,
        request_digest: str = "digest",
        reply_to: str | None = None,
    ) -> InvocationRecord:
        return await self.store.turns.admit(
            session=self.session,
            account=ACCOUNT,
            harness_id=self.harness_id,
            runtime_session_id=self.session.rpartition(":")[2],
            invocation_id=invocation_id,
            request_digest=request_digest,
            config_digest=self.config_digest,
            messages=messages or (says("Hello"),),
            reply_to=reply_to,
        )

    async def open(self, invocation_id: str, *messages: Message) -> Opening:
        await self.admit(invocation_id, *messages)
        return await self.store.turns.open(self.session, invocation_id)

    async def step(self, invocation_id: str, step: int, *calls: NewCall) -> int:
        """A whole model call that asks for `calls`."""
        start = await self.store.turns.begin_step(self.session, invocation_id, step)
        assert start.settled is None
        await self.store.turns.append(
            self.session, invocation_id, step, start.attempt, 0, piece("Sure.")
        )
        return await self.commit(invocation_id, step, start.attempt, *calls)

    async def commit(self, invocation_id: str, step: int, attempt: int, *calls: NewCall) -> int:
        return await self.store.turns.commit_step(
            self.session,
            invocation_id,
            step,
            attempt,
            message=reply(*calls),
            calls=calls,
            usage=USAGE,
            latency_ms=5,
            model_id="demo/echo",
        )

    async def finish(self, *names: str) -> None:
        for name in names:
            await self.store.calls.start(self.session, name, "boot")
            await self.store.calls.finish(
                self.session, name, status=ToolStatus.SUCCESS, content=[f"{name} done"]
            )

    async def close(
        self,
        invocation_id: str,
        stop_reason: StopReason | None = StopReason.END_TURN,
        error: ErrorDetail | None = None,
    ) -> None:
        await self.store.turns.close(
            self.session, invocation_id, stop_reason=stop_reason, error=error
        )

    async def ask_person(self, invocation_id: str, *calls: NewCall) -> None:
        """A turn that ends with calls handed to the caller."""
        await self.open(invocation_id)
        await self.step(invocation_id, 0, *calls)
        await self.store.turns.hand_over(self.session, invocation_id)
        await self.close(invocation_id, StopReason.TOOL_USE)

    async def events(self, invocation_id: str | None = None) -> tuple[Event, ...]:
        return await self.store.log.read(self.session, after=0, invocation_id=invocation_id)

    async def kinds(self, invocation_id: str | None = None) -> list[EventKind]:
        return [event.payload.kind for event in await self.events(invocation_id)]

    async def messages(self) -> list[Message]:
        found = await self.store.transcript.window(self.session, upto_seq=10**6, limit=None)
        assert [stored.seq for stored in found] == list(range(1, len(found) + 1))
        return [stored.message for stored in found]


def unanswered(messages: Sequence[Message]) -> list[str]:
    """Tool calls whose results do not follow in the very next message, as models demand."""
    missing: list[str] = []
    for index, message in enumerate(messages):
        asked = [use.id for use in message.tool_uses]
        following = messages[index + 1].blocks if index + 1 < len(messages) else ()
        given = [block.tool_use_id for block in following if isinstance(block, ToolResultBlock)]
        missing += [name for name in asked if name not in given]
    return missing
