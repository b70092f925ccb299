"""What an invocation's messages mean to a session: new conversation, or answers to waiting calls.

Pure, so that the rules can be read and tested in one place; the store applies the plan in one
transaction. Sources: InvokeHarness `messages`, the devguide's inline functions in both protocol
generations (June 2026: assistant message with the calls, then a user message with every result;
September 2026: a user message with one or more results).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.errors import ServiceError, invalid
from contracts.messages import Message, TextBlock, ToolResultBlock, ToolStatus, ToolUseBlock

#: Messages that one invocation may bring.
MAX_MESSAGES = 1000


@dataclass(frozen=True)
class PendingCall:
    """A call that waits for the caller."""

    id: str
    name: str


@dataclass(frozen=True)
class Answer:
    """The outcome of a waiting call, as the caller tells it."""

    tool_use_id: str
    status: ToolStatus
    content: tuple[str, ...]


@dataclass(frozen=True)
class TurnPlan:
    """What opening a turn does to the session.

    Attributes:
        append: messages that join the transcript.
        answers: outcomes of waiting calls.
        text: text that follows the results in their message; only when every waiting call is
            answered.
        resumes: whether it takes up a turn whose calls are all decided.
    """

    append: tuple[Message, ...] = ()
    answers: tuple[Answer, ...] = ()
    text: tuple[TextBlock, ...] = ()
    resumes: bool = False


def plan_turn(
    messages: tuple[Message, ...],
    pending: tuple[PendingCall, ...],
    *,
    decided: Mapping[str, str] | None = None,
    resuming: bool = False,
) -> TurnPlan:
    """Decide what an invocation's messages do.

    Args:
        messages: the request's messages, oldest first.
        pending: calls of this session that wait for the caller.
        decided: for calls that the messages answer too late, how they were decided.
        resuming: whether calls stand without a result although none waits: people have decided
            about them, and their turn has not been resumed.

    Returns:
        The plan; it either appends messages or answers calls.

    Raises:
        ServiceError: ValidationException naming the message at fault and what is allowed.
    """
    if not messages:
        raise invalid("messages", "must hold at least one message")
    if len(messages) > MAX_MESSAGES:
        raise invalid("messages", f"holds {len(messages)} messages; at most {MAX_MESSAGES}")
    for index, message in enumerate(messages):
        if not message.blocks:
            raise invalid(f"messages[{index}].content", "must hold at least one content block")
    last = len(messages) - 1
    if messages[last].tool_uses:
        raise invalid(
            f"messages[{last}].content",
            "the final message must not hold a toolUse block; only the model asks for tools",
        )
    if messages[last].role != "user":
        raise invalid(f"messages[{last}].role", "the final message must have role user")
    decided = decided or {}
    if pending:
        return _answers(messages, pending, decided)
    return _words(messages, decided) if resuming else _conversation(messages, decided)


def _words(messages: tuple[Message, ...], decided: Mapping[str, str]) -> TurnPlan:
    """Text that follows the results of decided calls."""
    blocks = messages[-1].blocks
    text = tuple(block for block in blocks if isinstance(block, TextBlock))
    for block in blocks:
        if isinstance(block, ToolResultBlock):
            raise _too_late(len(messages) - 1, block.tool_use_id, decided)
    if len(messages) > 1 or len(text) < len(blocks):
        raise invalid(
            "messages", "while decided calls are about to run, only one message of text may come"
        )
    return TurnPlan(text=text, resumes=True)


def _too_late(index: int, tool_use_id: str, decided: Mapping[str, str]) -> ServiceError:
    how = decided.get(tool_use_id)
    return invalid(
        f"messages[{index}].content.toolResult.toolUseId",
        f"{tool_use_id} does not wait for a result" + (f": it {how}" if how else ""),
    )


def _answers(
    messages: tuple[Message, ...], pending: tuple[PendingCall, ...], decided: Mapping[str, str]
) -> TurnPlan:
    waiting = {call.id: call.name for call in pending}
    named = ", ".join(f"{call.id} ({call.name})" for call in pending)
    last = len(messages) - 1
    for index, message in enumerate(messages[:-1]):
        _only_echoes(index, message, waiting)

    answers: dict[str, Answer] = {}
    text: list[TextBlock] = []
    for block in messages[last].blocks:
        if isinstance(block, ToolResultBlock):
            path = f"messages[{last}].content.toolResult.toolUseId"
            if block.tool_use_id in answers:
                raise invalid(path, f"{block.tool_use_id} is answered twice")
            if block.tool_use_id not in waiting:
                how = decided.get(block.tool_use_id)
                why = f"{block.tool_use_id} {how or 'does not wait for a result'}"
                raise invalid(path, f"{why}; {named} waits")
            answers[block.tool_use_id] = Answer(block.tool_use_id, block.status, block.content)
        elif isinstance(block, TextBlock):
            text.append(block)
        else:
            raise invalid(f"messages[{last}].content", "may hold only toolResult and text blocks")
    if not answers:
        raise invalid(f"messages[{last}].content", f"tool calls wait for results first: {named}")
    if text and len(answers) < len(waiting):
        left = ", ".join(sorted(waiting.keys() - answers.keys()))
        raise invalid(
            f"messages[{last}].content",
            f"text may follow only when no call waits; {left} still does",
        )
    return TurnPlan(answers=tuple(answers.values()), text=tuple(text))


def _only_echoes(index: int, message: Message, waiting: dict[str, str]) -> None:
    """Before the answers only the assistant message that asked may stand; it is ignored."""
    unknown = [use.id for use in message.tool_uses if use.id not in waiting]
    if message.role != "assistant":
        raise invalid(
            f"messages[{index}]",
            "while tool calls wait, only their assistant message may come before the results",
        )
    if unknown:
        raise invalid(
            f"messages[{index}].content.toolUse.toolUseId",
            f"{unknown[0]} does not wait for a result",
        )


def _conversation(messages: tuple[Message, ...], decided: Mapping[str, str]) -> TurnPlan:
    asked: dict[str, int] = {}
    for index, message in enumerate(messages):
        results = [block for block in message.blocks if isinstance(block, ToolResultBlock)]
        if results and message.role != "user":
            raise invalid(f"messages[{index}].content", "toolResult blocks belong to role user")
        if message.tool_uses and message.role != "assistant":
            raise invalid(f"messages[{index}].content", "toolUse blocks belong to role assistant")
        for result in results:
            if asked.pop(result.tool_use_id, None) is None:
                raise _too_late(index, result.tool_use_id, decided)
        if asked:
            raise _unanswered(asked)
        asked = _distinct(index, message.tool_uses)
    return TurnPlan(append=messages)


def _distinct(index: int, uses: Iterable[ToolUseBlock]) -> dict[str, int]:
    found: dict[str, int] = {}
    for use in uses:
        if use.id in found:
            raise invalid(f"messages[{index}].content.toolUse.toolUseId", f"{use.id} stands twice")
        found[use.id] = index
    return found


def _unanswered(asked: dict[str, int]) -> ServiceError:
    tool_use_id, index = next(iter(asked.items()))
    return invalid(
        f"messages[{index}].content.toolUse.toolUseId",
        f"{tool_use_id} has no toolResult in the next message",
    )
