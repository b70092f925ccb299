"""Garbled calls and conversations that grow too long, through every process."""

from typing import Any

import pytest

from tests.activities.model.replay import Reply, Request, call_delta, chat, error, replaying
from tests.e2e.stack import Stack, new_session, say
from tests.providers.background import in_background


def shell(arguments: str) -> Reply:
    opened = call_delta(0, id="c", name="shell")
    return chat(opened, call_delta(0, arguments=arguments), finish="tool_calls")


def at(url: str) -> dict[str, Any]:
    return {"liteLlmModelConfig": {"modelId": "openai/m", "apiBase": url}}


@pytest.mark.wire("stop.malformed_tool_use")
def test_arguments_garbled_twice_end_the_turn_and_the_session_goes_on(stack: Stack) -> None:
    garbled = shell('{"command": "ls')
    replies = (garbled, garbled, chat({"content": "Sorry."}))
    with in_background(lambda: replaying(*replies)) as provider:
        arn, session = stack.harness(model=at(provider.url)), new_session()
        told = stack.invoke(arn, session, say("go"))
        again = stack.invoke(arn, session, say("once more"))
    assert told.stops[:3] == ["tool_use", "tool_result", "malformed_tool_use"]
    assert told.stop_reason == "malformed_tool_use"
    assert all("not valid JSON" in result for result in told.results)
    assert (again.stop_reason, again.text) == ("end_turn", "Sorry.")


@pytest.mark.wire("truncation.summarization")
def test_a_summary_lets_a_long_turn_go_on(stack: Stack) -> None:
    def answer(request: Request) -> Reply:
        if "tools" not in request.body:
            return chat({"content": "They count files."})
        messages = request.body["messages"][1:]
        if len(messages) > 5:
            return error(400, "maximum context length is 5 messages")
        summed = "They count files." in str(messages)
        return chat({"content": "done"}) if summed else shell('{"command": "true"}')

    summarization = {"summaryRatio": 0.5, "preserveRecentMessages": 2}
    truncation = {"strategy": "summarization", "config": {"summarization": summarization}}
    with in_background(lambda: replaying(answer=answer)) as provider:
        arn = stack.harness(model=at(provider.url), truncation=truncation)
        told = stack.invoke(arn, new_session(), say("count"))
    assert told.stops == ["tool_use", "tool_result"] * 3 + ["end_turn"]
    usages = [frame["metadata"]["usage"] for frame in told.frames if "metadata" in frame]
    assert usages[-1]["outputTokens"] == 2 * usages[0]["outputTokens"]
