"""Session ids made of one's own keys."""

import hashlib
import re

#: Of the readable part: with a dash and the digest it stays below AWS's 100 characters.
_READABLE_CHARACTERS = 59
_DIGEST_CHARACTERS = 40


def session_id(*parts: str | int) -> str:
    """A session id that the same parts always give, as `session_id("order", 42)`.

    AWS wants 33 to 100 characters of a session id; this is a readable beginning and a digest.

    Args:
        *parts: what the session is about.
    """
    text = "-".join(str(part) for part in parts)
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
    readable = re.sub(r"[^a-zA-Z0-9_-]+", "-", text).strip("-_")[:_READABLE_CHARACTERS]
    return f"{readable or 'session'}-{digest[:_DIGEST_CHARACTERS]}"
