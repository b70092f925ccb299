"""Whether a turn is being stopped.

A local activity that is cancelled in the activation that scheduled it runs all the same, and gives
its result to a task that was cancelled: temporalio has taken the cancellation back. So whatever
begins something asks here first.
"""

import asyncio

from temporalio import workflow


class Stopping:
    """Known to everything that a turn does."""

    def __init__(self) -> None:
        """Begin with a turn that goes on."""
        self.asked = False

    def check(self) -> None:
        """Begin nothing in a turn that is being stopped.

        Raises:
            CancelledError: it is.
        """
        # Runs of 0.1.0's first histories began it, and waited for its end.
        if self.asked and workflow.patched("stopping"):
            raise asyncio.CancelledError
