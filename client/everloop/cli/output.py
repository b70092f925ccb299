"""Where output goes. rich looks at NO_COLOR and at whether a terminal is there."""

import base64
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

#: Of the C0 and C1 control characters, only those that lay out text reach the terminal.
_SHOWN_CONTROLS = "\n\t"
_HIDDEN = {
    code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _SHOWN_CONTROLS
}


def stdout() -> "Console":
    """The console on standard output, as it is now."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def stderr() -> "Console":
    """The console on standard error, as it is now."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def harmless(text: str) -> str:
    """Text from a model, a tool or a server without the control characters that steer terminals."""
    return text.translate(_HIDDEN)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A response of boto3's as JSON: times in ISO 8601, bytes in base64."""
    return json.dumps(value, default=_plain, indent=indent, ensure_ascii=False)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print(to_json(value, indent=2))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"not JSON: {type(value).__name__}")
