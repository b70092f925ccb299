"""Structured results: what a model call did about the one that its invocation asks for. Pure.

The result is the arguments of a call of `structured_output`, checked against the caller's schema as
those of any tool are. A model that ends with words instead is reminded, for that call only: the
reminder is not the user's and stays out of the transcript.
"""

from collections.abc import Iterable, Sequence

from contracts.messages import Message, StopReason, TextBlock, ToolStatus
from contracts.records import CallRecord, NewCall
from contracts.tools import OUTPUT_TOOL, ToolKind
from contracts.turn import OutputState

REMINDER = (
    f"(Automatic reminder) The result is still missing. Call the tool `{OUTPUT_TOOL}` with it now; "
    "words alone are not read."
)
#: What the model's call of the tool is answered with.
TAKEN = "The result was taken."


def reminded(conversation: Sequence[Message]) -> list[Message]:
    """A conversation for a model that owes a result: one that ended with its words goes on."""
    if not conversation or conversation[-1].role == "user":
        return list(conversation)
    return [*conversation, Message(role="user", blocks=(TextBlock(text=REMINDER),))]


def state_of_new(calls: Iterable[NewCall], stop_reason: StopReason) -> OutputState:
    """What an answer with these calls did, when a result is asked for."""
    return _state((call.failure is None for call in calls if _gives(call)), stop_reason)


def state_of_settled(calls: Iterable[CallRecord], stop_reason: StopReason) -> OutputState:
    """The same of an answer that was settled before."""
    return _state(
        (call.status is ToolStatus.SUCCESS for call in calls if _gives(call)), stop_reason
    )


def _gives(call: NewCall | CallRecord) -> bool:
    return call.kind is ToolKind.OUTPUT


def _state(taken: Iterable[bool], stop_reason: StopReason) -> OutputState:
    given = list(taken)
    if any(given):
        return OutputState.GIVEN
    if (given and stop_reason is StopReason.TOOL_USE) or stop_reason is StopReason.END_TURN:
        return OutputState.MISSED
    return OutputState.NONE
