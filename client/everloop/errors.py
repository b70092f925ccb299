"""How a harness run fails, as its caller sees it.

All are Temporal `ApplicationError`s: one that a workflow does not catch fails that workflow, and
its type and details stand in the history. The types are a public contract.
"""

from collections.abc import Mapping
from typing import Any, cast

from temporalio.exceptions import ApplicationError

#: The run took longer than its `timeout`.
TIMED_OUT = "HarnessTimedOut"
#: The run ended without a structured result that fits.
OUTPUT_MISSING = "HarnessOutputMissing"
#: The session's workflow was stopped from outside, and with it the run.
STOPPED = "HarnessStopped"

#: Types of a run that was refused before it began, by AWS's names.
REFUSALS = frozenset(
    {
        "ValidationException",
        "AccessDeniedException",
        "ConflictException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
    }
)


class HarnessError(ApplicationError):
    """A harness run did not give a result.

    Attributes:
        session_id: the session, if it came to one.
        invocation_id: the invocation, if it came to one.
        stop_reason: why the agent stopped, if it did.
    """

    def __init__(self, message: str, details: Mapping[str, Any], type: str | None) -> None:
        """Describe a failure; `details` has the attributes by name."""
        super().__init__(message, dict(details), type=type, non_retryable=True)
        self.session_id: str | None = details.get("session_id")
        self.invocation_id: str | None = details.get("invocation_id")
        self.stop_reason: str | None = details.get("stop_reason")


class HarnessRefused(HarnessError):
    """The run was not begun: no such harness, or a bad input; the message says which."""


class HarnessFailed(HarnessError):
    """The run broke off: the model's provider failed for good, or a part of Everloop did."""


class HarnessTimedOut(HarnessError):
    """The run took longer than its `timeout` and was cancelled."""


class OutputMissing(HarnessError):
    """The run ended without a structured result that fits; `stop_reason` says how."""


def error_of(cause: BaseException | None) -> HarnessError | None:
    """What a failed run's cause means; None when it is not the run's own failure."""
    if not isinstance(cause, ApplicationError):
        return None
    details = _mapping(cause.details[0] if cause.details else None)
    kind: type[HarnessError] = HarnessFailed
    if cause.type in REFUSALS:
        kind = HarnessRefused
    elif cause.type == TIMED_OUT:
        kind = HarnessTimedOut
    elif cause.type == OUTPUT_MISSING:
        kind = OutputMissing
    return kind(cause.message, details, cause.type)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
