"""A model with a short memory: summaries made, kept, paid for, and used again."""

import json
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.model.summary import DEFAULT_PROMPT, HEADING
from contracts.events import Settled
from contracts.messages import StopReason
from contracts.settings import Settings
from store import Store
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import Reply, Request, call_delta, chat, error, replaying
from tests.activities.model.session import INVOCATION, SESSION, Session, at, run_config

pytestmark = [pytest.mark.usefixtures("litellm_clients"), *LITELLM_WARNS]

OVERFLOW = error(400, "This model's maximum context length is 9 tokens")


@pytest.fixture
def session(store: Store, settings: Settings) -> Session:
    return Session(store, settings)


def summarization(**members: Any) -> dict[str, Any]:
    return {"strategy": "summarization", "config": {"summarization": members}}


def is_summary(request: Request) -> bool:
    return "tools" not in request.body


def asked_to_summarise(request: Request) -> tuple[str, str]:
    system, user = (message["content"] for message in request.body["messages"])
    return system, user


class ShortMemory:
    """Reads at most so many messages, the system prompt not counted; calls a tool, or answers."""

    def __init__(self, most: int, *, calls: int) -> None:
        self.most = most
        self.calls = calls
        self.summaries = 0

    def __call__(self, request: Request) -> Reply:
        if is_summary(request):
            self.summaries += 1
            return chat({"content": f"what happened ({self.summaries})"})
        body = request.body["messages"]
        if len([message for message in body if message["role"] != "system"]) > self.most:
            return OVERFLOW
        if self.calls == 0:
            return chat({"content": "done"})
        self.calls -= 1
        return chat(
            call_delta(0, id="c", name="shell", arguments='{"command":"ls"}'), finish="tool_calls"
        )


async def loop(session: Session, steps: int) -> None:
    for step in range(steps):
        await session.answer(await session.call(step), f"result {step}")


@pytest.mark.wire("truncation.summarization")
async def test_a_loop_goes_on_past_what_the_model_can_read(session: Session) -> None:
    memory = ShortMemory(6, calls=8)
    how = summarization(summaryRatio=0.5, preserveRecentMessages=2)
    async with replaying(answer=memory) as provider:
        await session.open(run_config(at(provider.url), truncation=how), "find the treasure")
        await loop(session, 8)
        reply = await session.call(8)
    assert reply.stop_reason is StopReason.END_TURN
    made = [request for request in provider.requests if is_summary(request)]
    assert 2 <= len(made) == memory.summaries < 8
    system, first = asked_to_summarise(made[0])
    assert system == DEFAULT_PROMPT
    assert "User:\nfind the treasure" in first
    assert '[calls shell with {"command": "ls"}]' in first and "result 0" in first
    assert f"{HEADING}\nwhat happened (1)" in asked_to_summarise(made[1])[1]
    shown = provider.requests[-1].body["messages"][1:]
    assert shown[0]["content"].endswith(f"{HEADING}\nwhat happened ({memory.summaries})")
    assert shown[-1]["content"] == "result 7"
    roles = [message["role"] for message in shown[1:]]
    assert roles == ["assistant", "tool"] * (len(roles) // 2)
    whole = await session.store.transcript.window(SESSION, upto_seq=10**6, limit=None)
    assert len(whole) == 18


async def test_a_summary_is_in_the_usage_of_its_step_once(session: Session) -> None:
    memory = ShortMemory(3, calls=2)
    async with replaying(answer=memory) as provider:
        run = run_config(at(provider.url), truncation=summarization(summaryRatio=0.8))
        await session.open(run, "find the treasure")
        await loop(session, 2)
        reply = await session.call(2)
        again = await session.call(2)
    assert memory.summaries == 1
    assert (reply.output_tokens, again.output_tokens) == (14, 14)
    _, plain, summed = (
        call.usage.tokens for call in await session.store.usage.calls(SESSION, INVOCATION)
    )
    assert (plain.input_tokens, plain.output_tokens) == (8, 7)
    assert (summed.input_tokens, summed.output_tokens) == (16, 14)
    assert summed.cache_read_input_tokens == 6
    told = [e.payload.usage for e in await session.events() if isinstance(e.payload, Settled)]
    assert told == [plain, plain, summed]
    assert await session.store.summaries.uncounted(SESSION) == ()


async def test_a_retry_uses_the_summary_that_is_there(session: Session) -> None:
    memory = ShortMemory(3, calls=2)
    broken = 1

    def answer(request: Request) -> Reply:
        nonlocal broken
        if memory.summaries and broken and not is_summary(request):
            broken -= 1
            return error(500, "boom")
        return memory(request)

    async with replaying(answer=answer) as provider:
        run = run_config(at(provider.url), truncation=summarization(summaryRatio=0.8))
        await session.open(run, "find the treasure")
        await loop(session, 2)
        with pytest.raises(ApplicationError):
            await session.call(2)
        reply = await session.call(2)
    assert memory.summaries == 1
    assert (reply.stop_reason, reply.output_tokens) == (StopReason.END_TURN, 14)


async def test_settings_of_the_harness_are_followed(session: Session) -> None:
    memory = ShortMemory(20, calls=5)
    how = summarization(
        summaryRatio=0.8, preserveRecentMessages=4, summarizationSystemPrompt="In one line."
    )
    async with replaying(answer=memory) as provider:
        await session.open(run_config(at(provider.url), truncation=how), "find the treasure")
        await loop(session, 5)
        memory.most = 8
        await session.call(5)
    (made,) = [request for request in provider.requests if is_summary(request)]
    system, text = asked_to_summarise(made)
    assert system == "In one line."
    # Of eleven messages, seven may go: four stay, and no call is parted from its result.
    assert "result 2" in text and "result 3" not in text
    shown = json.dumps(provider.requests[-1].body["messages"])
    assert "result 2" not in shown and "result 3" in shown and "result 4" in shown


@pytest.mark.wire("truncation.summarization")
async def test_a_short_session_needs_no_summary(session: Session) -> None:
    memory = ShortMemory(9, calls=0)
    async with replaying(answer=memory) as provider:
        await session.open(run_config(at(provider.url), truncation=summarization()), "hi")
        reply = await session.call()
    assert reply.stop_reason is StopReason.END_TURN
    assert memory.summaries == 0


async def test_one_message_that_is_too_long_ends_the_turn_with_its_reason(
    session: Session,
) -> None:
    async with replaying(OVERFLOW) as provider:
        await session.open(run_config(at(provider.url), truncation=summarization()), "hi")
        reply = await session.call()
    assert reply.stop_reason is StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED
    assert len(provider.requests) == 1


async def test_what_cannot_be_summarised_at_once_is_summarised_in_part(session: Session) -> None:
    memory = ShortMemory(20, calls=4)

    def answer(request: Request) -> Reply:
        if is_summary(request) and "result 1" in asked_to_summarise(request)[1]:
            return OVERFLOW
        return memory(request)

    how = summarization(summaryRatio=0.8, preserveRecentMessages=0)
    async with replaying(answer=answer) as provider:
        await session.open(run_config(at(provider.url), truncation=how), "find the treasure")
        await loop(session, 4)
        memory.most = 7
        reply = await session.call(4)
    assert reply.stop_reason is StopReason.END_TURN
    summary = await session.store.summaries.newest(SESSION, before_seq=10**6)
    assert summary is not None and summary.upto_seq == 3


@pytest.mark.parametrize("said", [{"content": " "}, {"reasoning_content": "hm"}])
async def test_an_empty_summary_replaces_nothing(session: Session, said: dict[str, Any]) -> None:
    memory = ShortMemory(2, calls=1)

    def answer(request: Request) -> Reply:
        return chat(said) if is_summary(request) else memory(request)

    async with replaying(answer=answer) as provider:
        await session.open(run_config(at(provider.url), truncation=summarization()), "go")
        await loop(session, 1)
        reply = await session.call(1)
    assert reply.stop_reason is StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED
    assert await session.store.summaries.newest(SESSION, before_seq=10**6) is None


async def test_a_summary_is_words_whatever_form_answers_must_have(session: Session) -> None:
    memory = ShortMemory(2, calls=1)
    async with replaying(answer=memory) as provider:
        model = at(provider.url)
        model["liteLlmModelConfig"]["additionalParams"] = {
            "response_format": {"type": "json_object"},
            "tool_choice": "auto",
        }
        await session.open(run_config(model, truncation=summarization()), "go")
        await loop(session, 1)
        await session.call(1)
    for request in provider.requests:
        assert ("response_format" in request.body) is not is_summary(request)
        assert ("tool_choice" in request.body) is not is_summary(request)
