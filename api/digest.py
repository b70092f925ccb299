"""The digest of a request, by which a repeated one is recognised."""

import base64
import hashlib
import json
from collections.abc import Collection
from datetime import datetime
from typing import Any


def request_digest(params: dict[str, Any], *, without: Collection[str] = ()) -> str:
    """SHA-256 in hexadecimal of a request's canonical JSON.

    Args:
        params: the parsed parameters.
        without: top-level members that do not change what is asked.
    """
    kept = {name: value for name, value in params.items() if name not in without}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not occur in a request")
