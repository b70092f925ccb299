"""Everloop's client: what a caller installs beside their own code.

`everloop.workflow` runs a harness inside a workflow, `everloop.activity` inside an activity,
`Client` anywhere else, and `everloop.nexus` from another namespace.
"""

from everloop.client import Client, RunHandle, connect
from everloop.errors import (
    HarnessError,
    HarnessFailed,
    HarnessRefused,
    HarnessTimedOut,
    OutputMissing,
)
from everloop.options import RunOptions
from everloop.results import HarnessResult
from everloop.session_ids import session_id
from everloop.types import StopReason, TokenUsage

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
    "StopReason",
    "TokenUsage",
    "connect",
    "session_id",
]
