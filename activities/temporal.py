"""Reaching Temporal when a worker or a sandbox host starts."""

import asyncio
import contextlib
import logging
import time

from temporalio.client import Client

from contracts.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that Temporal is waited for, and between two tries. A process takes seconds to start, so
#: that one which comes up while Temporal is down does not end.
CONNECT_S, AGAIN_S = 60.0, 0.2


async def connect(settings: Settings, stop: asyncio.Event) -> Client | None:
    """Connect to Temporal; one that is not there yet, or starts again, is waited for.

    Args:
        settings: say where it is.
        stop: set to end the wait.

    Returns:
        The client; None when told to stop before Temporal was there.

    Raises:
        RuntimeError: it could not be reached for `CONNECT_S` seconds; the message says why.
    """
    address = settings.temporal_address
    until = time.monotonic() + CONNECT_S
    waits = False
    while True:
        try:
            return await Client.connect(address, namespace=settings.temporal_namespace)
        except RuntimeError:
            if time.monotonic() > until:
                raise
        if not waits:
            log.warning("waiting for Temporal at %s", address)
        waits = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), AGAIN_S)
            return None
