"""What a failed attempt of a model call tells Temporal, and which attempts count.

An attempt that ends with an error counts, and `MODEL_ERRORS` of them end the call. One that ends
with its worker does not: nobody asked too often, and the next follows soon. Temporal counts both
alike, so how many errors there were travels in the heartbeats, which the next attempt is given.
"""

from datetime import timedelta

from temporalio import activity
from temporalio.exceptions import ApplicationError

from contracts.errors import ErrorType, ModelFailed
from contracts.turn import MODEL_ERRORS

#: Before the second attempt, unless the provider says when; each later pause is twice as long.
FIRST_PAUSE_S = 0.1


def errors_before() -> int:
    """How many attempts of the running call ended with an error."""
    told = activity.info().heartbeat_details
    return told[0] if told and isinstance(told[0], int) else 0


def counted(error: ApplicationError) -> ApplicationError:
    """The error of an attempt, final when there were too many; the next attempt will know of it."""
    errors = errors_before() + 1
    final = error.non_retryable or errors >= MODEL_ERRORS
    pause = error.next_retry_delay or timedelta(seconds=FIRST_PAUSE_S * 2 ** (errors - 1))
    activity.heartbeat(errors)
    return ApplicationError(
        error.message,
        *error.details,
        type=error.type,
        non_retryable=final,
        next_retry_delay=None if final else pause,
    )


def told(failed: ModelFailed) -> ApplicationError:
    """A model's failure in codes; its words are not for history."""
    passes = failed.fault.passes
    pause = failed.retry_after_s
    return ApplicationError(
        "the model call failed",
        failed.fault.value,
        type=ErrorType.MODEL_UNAVAILABLE if passes else ErrorType.MODEL_REFUSED,
        non_retryable=not passes,
        next_retry_delay=timedelta(seconds=pause) if passes and pause is not None else None,
    )
