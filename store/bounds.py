"""How large what the store keeps may be."""

from collections.abc import Iterable

from contracts.errors import TooLarge

#: JSON bytes of an invocation's messages. A model's window of a million tokens is about four of
#: them.
MAX_REQUEST_BYTES = 8 * 1024**2
#: JSON bytes of one assistant message: far above what any model writes in one step.
MAX_MESSAGE_BYTES = 4 * 1024**2
#: Characters of one delta row. Writers flush at 4 KB, but some providers send a tool's arguments
#: whole.
MAX_DELTA_BYTES = 1024**2
#: Characters of a tool call's outcome. Tools cut at 32 KB; a caller's answer may be a document.
MAX_OUTCOME_BYTES = 2 * 1024**2
#: Rows of the log that one read returns: at 4 KB each, a page is about 4 MB.
MAX_PAGE_EVENTS = 1000


def check_size(what: str, pieces: Iterable[str | None], limit: int) -> None:
    """Check the length of text pieces together.

    Raises:
        TooLarge: they are longer than `limit` characters.
    """
    size = sum(len(piece) for piece in pieces if piece)
    if size > limit:
        raise TooLarge(f"{what} has {size} characters; at most {limit} are kept")
