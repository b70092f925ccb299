"""Fire and forget: what a session is sent waits for people, and goes with the session."""

import asyncio
import uuid

import pytest

import everloop
from everloop.handles import SentState
from everloop.sessions import Sessions
from tests.e2e.people import waiting
from tests.e2e.stack import APPROVAL, Stack, answer, wait_until


async def test_what_is_queued_waits_for_people_and_goes_with_its_session(
    stack: Stack,
) -> None:
    client = await everloop.connect(stack.temporal)
    arn, session = stack.harness(tools=[APPROVAL]), everloop.session_id(uuid.uuid4().hex)
    prompts = ("Ask for approval to ship", "Count to 2", "Ask for approval to bill", "Count to 9")
    sent = [await client.send(arn, prompt, session_id=session) for prompt in prompts]
    (decision,) = await asyncio.to_thread(wait_until, lambda: waiting(stack, session))
    assert [(await each.standing()).state for each in sent[:2]] == [
        SentState.RUNNING,
        SentState.QUEUED,
    ]
    call = (decision["toolUseId"], "yes")
    await asyncio.to_thread(stack.invoke, arn, session, answer(call))
    assert (await sent[1].result()).text == "1 2"

    await asyncio.to_thread(wait_until, lambda: waiting(stack, session))
    of = Sessions.at(stack.endpoint)
    await asyncio.to_thread(of.delete, arn.rpartition("/")[2], session, wait_s=0)
    with pytest.raises(everloop.HarnessRefused, match="cancelled or terminated"):
        await sent[3].result()
