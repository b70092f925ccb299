"""Which part of a long transcript a model is shown."""

from contracts.messages import Message, TextBlock, ToolResultBlock
from store import Store


async def shown(store: Store, session: str, *, upto_seq: int, limit: int | None) -> list[Message]:
    """The newest messages, so cut that they are a conversation.

    A window never starts with a tool result whose call is cut off: the call's message is shown
    too. When it does not start with words of the user, the newest ones before it stand in front, so
    that in a long tool loop the model still reads what it was asked.

    Args:
        store: holds the transcript.
        session: the session's key.
        upto_seq: the newest message to show.
        limit: how many messages, a few more at most; None shows all.
    """
    window = await store.transcript.window(session, upto_seq=upto_seq, limit=limit)
    if not window:
        return []
    first = window[0].seq
    messages = [stored.message for stored in window]
    if _answers(messages[0]) and first > 1:
        first -= 1
        messages.insert(0, await store.transcript.message(session, first))
    if not _speaks(messages[0]):
        asked = await store.transcript.last_user_text(session, upto_seq=first - 1)
        if asked is not None:
            messages.insert(0, _words_of(asked.message))
    return messages


def _answers(message: Message) -> bool:
    return any(isinstance(block, ToolResultBlock) for block in message.blocks)


def _speaks(message: Message) -> bool:
    return message.role == "user" and any(isinstance(block, TextBlock) for block in message.blocks)


def _words_of(message: Message) -> Message:
    texts = tuple(block for block in message.blocks if isinstance(block, TextBlock))
    return message.model_copy(update={"blocks": texts})
