"""What an invocation's messages may be, with and without calls that wait."""

import pytest

from contracts.admission import PendingCall, plan_turn
from contracts.errors import AwsError, ServiceError
from contracts.messages import (
    Block,
    Message,
    TextBlock,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)

PENDING = (PendingCall("call-1", "approve"), PendingCall("call-2", "pick"))


def user(*blocks: Block) -> Message:
    return Message(role="user", blocks=blocks)


def assistant(*blocks: Block) -> Message:
    return Message(role="assistant", blocks=blocks)


def text(words: str) -> TextBlock:
    return TextBlock(text=words)


def result(tool_use_id: str) -> ToolResultBlock:
    return ToolResultBlock(
        tool_use_id=tool_use_id, status=ToolStatus.SUCCESS, content=(f"of {tool_use_id}",)
    )


def use(tool_use_id: str) -> ToolUseBlock:
    return ToolUseBlock(id=tool_use_id, name="approve")


def test_a_user_message_starts_a_turn() -> None:
    plan = plan_turn((user(text("hello")),), ())
    assert plan.append == (user(text("hello")),)
    assert plan.answers == ()


@pytest.mark.wire("invoke.history")
def test_a_conversation_with_answered_tool_calls_may_be_brought_along() -> None:
    messages = (
        user(text("a")),
        assistant(use("x"), use("y")),
        user(result("y"), result("x")),
        assistant(text("done")),
        user(text("b")),
    )
    assert plan_turn(messages, ()).append == messages


@pytest.mark.wire("inline.june", "inline.september")
def test_both_protocol_generations_answer_a_waiting_call() -> None:
    alone = plan_turn((user(result("call-1")),), PENDING)
    with_echo = plan_turn((assistant(use("call-1")), user(result("call-1"))), PENDING)
    assert [answer.tool_use_id for answer in alone.answers] == ["call-1"]
    assert alone == with_echo
    assert alone.append == ()


def test_text_may_follow_the_last_answer() -> None:
    plan = plan_turn((user(result("call-1"), result("call-2"), text("and hurry")),), PENDING)
    assert plan.text == (text("and hurry"),)
    assert len(plan.answers) == 2


@pytest.mark.wire("invoke.last-message", "inline.wrong-id", "inline.new-text")
@pytest.mark.parametrize(
    ("messages", "pending", "says"),
    [
        ((), (), "at least one message"),
        ((user(),), (), "at least one content block"),
        ((assistant(text("a")),), (), "must have role user"),
        ((user(text("a")), assistant(use("x"))), (), "must not hold a toolUse"),
        ((user(use("x")), user(text("a"))), (), "belong to role assistant"),
        ((assistant(result("x")), user(text("a"))), (), "belong to role user"),
        ((user(result("stale")),), (), "stale does not wait"),
        ((assistant(use("x")), user(text("a"))), (), "x has no toolResult"),
        ((assistant(use("x"), use("x")), user(result("x"))), (), "stands twice"),
        ((user(text("a")),), PENDING, "call-1 (approve), call-2 (pick)"),
        ((user(result("stale")),), PENDING, "stale does not wait"),
        ((user(result("call-1"), result("call-1")),), PENDING, "answered twice"),
        ((user(result("call-1"), text("a")),), PENDING, "call-2 still does"),
        ((user(text("a")), user(result("call-1"))), PENDING, "only their assistant message"),
        ((assistant(use("other")), user(result("call-1"))), PENDING, "other does not wait"),
    ],
)
def test_refuses_and_says_what_is_wrong(
    messages: tuple[Message, ...], pending: tuple[PendingCall, ...], says: str
) -> None:
    with pytest.raises(ServiceError) as refused:
        plan_turn(messages, pending)
    assert refused.value.detail.error is AwsError.VALIDATION
    assert refused.value.detail.fields[0].name.startswith("messages")
    assert says in refused.value.detail.message


@pytest.mark.wire("invoke.bounds")
def test_bounds_the_number_of_messages() -> None:
    with pytest.raises(ServiceError, match="at most 1000"):
        plan_turn((user(text("a")),) * 1001, ())
