"""Work that a host does again and again, for as long as it lives."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something in turn with waiting, whatever becomes of it. Never returns.

    Args:
        seconds: between an end and the next beginning.
        work: what is done; an error is logged.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            # The database may be away for a while; the environments must stay looked after.
            log.exception("looking after environments failed, and is tried again")
