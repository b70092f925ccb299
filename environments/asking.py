"""What a host asks of an environment itself: whether it is the one that is recorded, and to end."""

import asyncio
import logging
import time

from contracts.environment import EnvironmentRecord
from environments.provider import EnvironmentProvider, Liveness

log = logging.getLogger(__name__)


async def confirms(provider: EnvironmentProvider, record: EnvironmentRecord) -> bool:
    """Whether an environment answers, and is that of the record."""
    try:
        info = await provider.connect(record.reference).info()
    except (ConnectionError, TimeoutError) as error:
        log.warning("an adopted environment does not answer: %s", error)
        return False
    return info.boot_id == record.boot_id


async def ask_to_end(
    provider: EnvironmentProvider, record: EnvironmentRecord, grace_s: int
) -> None:
    """Have an environment end its processes, and wait for its end, for `grace_s` at most."""
    try:
        await provider.connect(record.reference).shutdown(grace_s)
    except (ConnectionError, TimeoutError) as error:
        log.warning("an environment cannot be asked to end and is killed: %s", error)
        return
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        if await provider.status(record.reference) is Liveness.GONE:
            return
        await asyncio.sleep(0.02)
