"""What every activity of a session needs: whose it is, and a pulse while it works."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio import activity

#: Seconds between heartbeats, which also bring cancellation. The heartbeat time-out, after which a
#: worker counts as dead, is five of these.
HEARTBEAT_S = 1.0


def session_key() -> str:
    """The session that the running activity works for: the id of its workflow."""
    workflow_id = activity.info().workflow_id
    if workflow_id is None:
        raise ValueError("runs only inside a session workflow")
    return workflow_id


@asynccontextmanager
async def heartbeats(*details: int) -> AsyncGenerator[None]:
    """Tell Temporal that the running activity lives, for as long as the block takes.

    Args:
        details: what the next attempt is to know if this one dies.
    """

    async def beat() -> None:
        while True:
            activity.heartbeat(*details)
            await asyncio.sleep(HEARTBEAT_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
