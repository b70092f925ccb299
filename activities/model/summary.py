"""Making room: a summary takes the place of the oldest messages when a model can read no more.

The transcript stays whole; only what is shown becomes shorter. A summary is stored as soon as it is
made, so that a retry of the step, and every later step, uses it instead of making it again.
"""

import json
from collections.abc import Awaitable, Callable, Sequence

from activities.model.assemble import Settled
from contracts.errors import ModelFailed, ModelFault
from contracts.harness import Summarization
from contracts.messages import (
    Block,
    Message,
    ReasoningBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from contracts.records import StoredMessage, SummaryRecord
from store import Store

#: What a harness without a prompt of its own has its summaries made with.
DEFAULT_PROMPT = (
    "You summarise the beginning of a conversation of a user and an assistant that uses tools. "
    "Your summary replaces it: the assistant goes on from your words alone. Keep what the user "
    "wants and has decided, what was done and found out, with exact names, numbers, paths and ids, "
    "and what is still to be done. Write in the third person, in the language of the conversation, "
    "as bullet points. Do not answer the user and do not add anything."
)
#: Stands before a summary, so that the model knows what it reads.
HEADING = "Summary of the conversation so far, which is not shown any more:"

#: Of one text or tool result, the summarising model reads this much: a single result may be larger
#: than what it can read.
SHOWN_CHARACTERS = 20_000

Ask = Callable[[str, str], Awaitable[Settled]]


async def shown_with_summary(store: Store, session: str, *, upto_seq: int) -> list[Message]:
    """The whole transcript, its beginning as a summary where one was made.

    Args:
        store: holds the transcript.
        session: the session's key.
        upto_seq: the newest message to show.
    """
    summary, rest = await _parts(store, session, upto_seq)
    messages = [stored.message for stored in rest]
    return [_standing_for(summary), *messages] if summary else messages


async def make_room(
    store: Store, session: str, *, upto_seq: int, how: Summarization, ask: Ask
) -> bool:
    """Have a summary made of the oldest messages that are shown, and store it.

    A conversation shorter than what is to be preserved is summarised all the same, but for its last
    message: otherwise the turn would end here.

    Args:
        store: holds the transcript, takes the summary.
        session: the session's key.
        upto_seq: the newest message of the conversation.
        how: the harness's settings.
        ask: calls the model with a system prompt and a text.

    Returns:
        Whether the conversation is shorter now; False when nothing was left to summarise.

    Raises:
        ModelFailed: the model could not be asked.
    """
    before, rest = await _parts(store, session, upto_seq)
    messages = [stored.message for stored in rest]
    count = _first_cut(messages, how)
    while count:
        parts = ([f"{HEADING}\n{before.text}"] if before else []) + [
            _written(message) for message in messages[:count]
        ]
        try:
            said = await ask(how.summarization_system_prompt or DEFAULT_PROMPT, "\n\n".join(parts))
        except ModelFailed as failed:
            if failed.fault is not ModelFault.CONTEXT_WINDOW:
                raise
            count = _cut(messages, count // 2)
            continue
        text = "".join(b.text for b in said.message.blocks if isinstance(b, TextBlock)).strip()
        if not text:
            return False
        made = SummaryRecord(rest[count - 1].seq, text, said.usage, said.cost_pico_usd)
        await store.summaries.keep(session, made)
        return True
    return False


async def _parts(
    store: Store, session: str, upto_seq: int
) -> tuple[SummaryRecord | None, Sequence[StoredMessage]]:
    summary = await store.summaries.newest(session, before_seq=upto_seq)
    left = upto_seq - (summary.upto_seq if summary else 0)
    return summary, await store.transcript.window(session, upto_seq=upto_seq, limit=left)


def _standing_for(summary: SummaryRecord) -> Message:
    return Message(role="user", blocks=(TextBlock(text=f"{HEADING}\n{summary.text}"),))


def _first_cut(messages: Sequence[Message], how: Summarization) -> int:
    """How many of the oldest messages to summarise; 0 when none can be."""
    spare = len(messages) - how.preserve_recent_messages
    wanted = min(
        max(int(len(messages) * how.summary_ratio), 1), spare if spare > 0 else len(messages) - 1
    )
    # Between a call and its result there is no cut; rather a little more is summarised.
    for count in range(wanted, len(messages)):
        if count and _may_follow_a_cut(messages[count]):
            return count
    return _cut(messages, wanted)


def _cut(messages: Sequence[Message], most: int) -> int:
    """The longest beginning of at most this many messages that a cut may follow; 0 for none."""
    fitting = (count for count in range(most, 0, -1) if _may_follow_a_cut(messages[count]))
    return next(fitting, 0)


def _may_follow_a_cut(message: Message) -> bool:
    return not any(isinstance(block, ToolResultBlock) for block in message.blocks)


def _written(message: Message) -> str:
    who = "User" if message.role == "user" else "Assistant"
    parts = [part for block in message.blocks if (part := _block(block))]
    return f"{who}:\n" + "\n".join(parts)


def _block(block: Block) -> str:
    match block:
        case TextBlock(text=text):
            return _bounded(text)
        case ToolUseBlock(name=name, input=arguments):
            return _bounded(f"[calls {name} with {json.dumps(arguments, ensure_ascii=False)}]")
        case ToolResultBlock(status=status, content=content):
            return f"[{status.value} of the tool: {_bounded(''.join(content))}]"
        case ReasoningBlock():
            return ""


def _bounded(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} ... (shortened) ... {text[-half:]}"
