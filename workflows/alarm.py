"""One timer for everything that a run waits for with a time-out.

In order:
1. A wait sets the timer to its own end, unless it rings by then anyway.
2. A timer that rings early wakes the wait, which sets it anew.

So a session whose turns follow each other within its grace period sets no timer for a turn, nor for
the pause after it. It serves one wait at a time, and never tells a time-out before its time.
"""

import asyncio
from collections.abc import Callable

from temporalio import workflow


class Alarm:
    """The timer of a run."""

    def __init__(self) -> None:
        """Set nothing yet."""
        self._timer: asyncio.Task[None] | None = None
        self._rings_s: float | None = None

    async def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, at most so many seconds; whether it does."""
        due_s = workflow.time() + seconds
        while not condition():
            if workflow.time() >= due_s:
                return False
            if self._rings_s is None or self._rings_s > due_s:
                self._set(due_s)
            await workflow.wait_condition(lambda: condition() or self._rings_s is None)
        return True

    def _set(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_s = due_s
        self._timer = asyncio.create_task(self._ring(due_s - workflow.time()))

    async def _ring(self, after_s: float) -> None:
        await workflow.sleep(after_s)
        self._rings_s = None
