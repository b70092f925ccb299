"""Digests by which values are named and compared."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: members sorted, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """SHA-256 in hexadecimal of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def call_digest(name: str, arguments: dict[str, Any]) -> str:
    """The digest that a decision about a tool call binds to."""
    return digest({"input": arguments, "name": name})
