"""A turn that meets its budget ends before its next model call, and goes on under a higher one."""

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.e2e.people import Json, Refused, invocations, own, resumed, vote, waiting
from tests.e2e.stack import Stack, new_session, say, wait_until
from tests.providers.background import in_background
from tests.providers.said import Said
from tests.providers.server import speaking


def limit(stack: Stack, harness_id: str, tokens: int, at_limit: str = "stop") -> None:
    bound(stack, harness_id, {"tokensPerSession": tokens, "atLimit": at_limit})


def bound(stack: Stack, harness_id: str, budget: Json) -> None:
    own(stack, "PUT", f"harnesses/{harness_id}/extensions", {"budget": budget})

    def ready() -> bool:
        found = stack.control.get_harness(harnessId=harness_id)["harness"]
        return found["status"] == "READY"

    wait_until(ready, what="the budget did not come into force")


def test_a_turn_ends_at_its_budget_and_a_higher_one_lets_the_session_go_on(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    harness_id = arn.split("/")[1]
    limit(stack, harness_id, 1)
    told = stack.invoke(arn, session, say("Run the shell command `echo once`"))
    assert told.stops == ["tool_use", "tool_result", "max_output_tokens_exceeded"]
    again = stack.invoke(arn, session, say("Count to 3"))
    assert (again.stops, again.text) == (["max_output_tokens_exceeded"], "")
    used = [each["usage"]["modelCalls"] for each in invocations(stack, arn, session).values()]
    assert sorted(used) == [0, 1]
    limit(stack, harness_id, 10**6)
    assert stack.invoke(arn, session, say("Count to 2")).stop_reason == "end_turn"


@pytest.mark.wire("stop.partial_turn")
def test_a_turn_waits_for_more_and_goes_on_when_somebody_gives_it(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    limit(stack, arn.split("/")[1], 1, "ask")
    told = stack.invoke(arn, session, say("Count to 3"))
    assert told.stops == ["end_turn"]
    told = stack.invoke(arn, session, say("Count to 4"))
    assert (told.stops, told.text) == (["partial_turn"], "")
    (asked,) = waiting(stack, session)
    with pytest.raises((ClientError, EventStreamError), match=asked["decisionId"]):
        stack.invoke(arn, session, say("Count to 5"))
    with pytest.raises(Refused, match="schema"):
        vote(stack, asked, "approve", arguments={"command": "ls"})
    vote(stack, asked, "approve", arguments={"addTokens": 10**6})
    assert resumed(stack, arn, session, asked)["stopReason"] == "end_turn"
    assert stack.invoke(arn, session, say("Count to 2")).stop_reason == "end_turn"


def test_a_turn_that_gets_no_more_ends_interrupted(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    limit(stack, arn.split("/")[1], 1, "ask")
    told = stack.invoke(arn, session, say("Run the shell command `echo once`"))
    assert told.stops == ["tool_use", "tool_result", "partial_turn"]
    (asked,) = waiting(stack, session)
    vote(stack, asked, "reject", reason="too dear")
    assert resumed(stack, arn, session, asked)["stopReason"] == "interrupted"
    assert stack.invoke(arn, session, say("Count to 2")).stops == ["partial_turn"]


def test_what_a_harness_may_spend_is_for_all_of_its_sessions(stack: Stack) -> None:
    with in_background(lambda: speaking(lambda _: Said(text="Done."))) as provider:
        priced = {"modelId": "openai/gpt-4o-mini", "apiBase": f"{provider.url}/v1"}
        arn, other = stack.harness(model={"liteLlmModelConfig": priced}), new_session()
        bound(stack, arn.split("/")[1], {"usdPerHarness": 0.000001, "atLimit": "ask"})
        assert stack.invoke(arn, new_session(), say("Count to 3")).stop_reason == "end_turn"
        assert stack.invoke(arn, other, say("Count to 3")).stops == ["partial_turn"]
        (asked,) = waiting(stack, other)
        vote(stack, asked, "approve", arguments={"addUsd": 1})
        assert resumed(stack, arn, other, asked)["stopReason"] == "end_turn"
