"""Everloop's client: what a caller installs beside their own code.

`everloop.workflow` runs a harness inside a workflow, `everloop.activity` inside an activity,
`Client` anywhere else, and `everloop.nexus` from another namespace.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from everloop.session_ids import session_id
from everloop.types import StopReason, TokenUsage

if TYPE_CHECKING:
    from everloop.client import Client, connect
    from everloop.errors import (
        HarnessError,
        HarnessFailed,
        HarnessRefused,
        HarnessTimedOut,
        OutputMissing,
    )
    from everloop.handles import RunHandle, SentRun, SentStanding, SentState
    from everloop.options import RunOptions
    from everloop.results import HarnessResult
    from everloop.schedules import Schedules

__all__ = [
    "Client",
    "HarnessError",
    "HarnessFailed",
    "HarnessRefused",
    "HarnessResult",
    "HarnessTimedOut",
    "OutputMissing",
    "RunHandle",
    "RunOptions",
    "Schedules",
    "SentRun",
    "SentStanding",
    "SentState",
    "StopReason",
    "TokenUsage",
    "connect",
    "session_id",
]

#: Loaded when they are asked for: the `everloop` command answers without Temporal's SDK, whose
#: import takes longer than all the rest.
_LATE = {
    "Client": "everloop.client",
    "RunHandle": "everloop.handles",
    "SentRun": "everloop.handles",
    "SentStanding": "everloop.handles",
    "SentState": "everloop.handles",
    "connect": "everloop.client",
    "HarnessError": "everloop.errors",
    "HarnessFailed": "everloop.errors",
    "HarnessRefused": "everloop.errors",
    "HarnessTimedOut": "everloop.errors",
    "OutputMissing": "everloop.errors",
    "RunOptions": "everloop.options",
    "HarnessResult": "everloop.results",
    "Schedules": "everloop.schedules",
}


def __getattr__(name: str) -> Any:
    """A public name that is loaded late."""
    if name not in _LATE:
        raise AttributeError(f"module 'everloop' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
