"""Files of sessions that nobody has used for long are removed, and only here.

A record stays and says so: an agent that comes back is told that its files are gone.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from contracts.environment import EnvironmentState
from environments.provider import EnvironmentProvider
from store.environments import Environments

log = logging.getLogger(__name__)

#: Seconds between sweeps: days are counted, so an hour is close enough.
SWEEP_S = 3600.0
DAY_S = 24 * 3600


class Expiry:
    """Removes old volumes of one host."""

    def __init__(
        self, records: Environments, provider: EnvironmentProvider, host: str, *, days: int
    ) -> None:
        """Remove nothing yet.

        Args:
            records: what is known of environments.
            provider: removes volumes.
            host: whose environments.
            days: without use, after which they go; 0 for never.
        """
        self._records = records
        self._provider = provider
        self._host = host
        self._unused_s = days * DAY_S
        self._next = 0.0

    async def sweep(self, remove: Callable[[str], Awaitable[None]]) -> None:
        """Have every session that is due removed, once in `SWEEP_S`.

        Args:
            remove: calls `remove` of this under the session's lock, if nobody uses the session.
        """
        if self._unused_s == 0 or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SWEEP_S
        for session in await self._records.unused(self._host, for_s=self._unused_s):
            await remove(session)

    async def remove(self, session: str) -> None:
        """Remove a session's files, if it is still unused.

        The record is marked first, so that it never promises files which are gone; a host that
        starts, and a session that is used again, finish what was begun.
        """
        record = await self._records.get(session)
        unused = await self._records.unused(self._host, for_s=self._unused_s, session=session)
        if record is None or not unused:
            return
        expired = replace(record, state=EnvironmentState.EXPIRED, reference={})
        await self._records.put(expired, expected_generation=record.generation)
        log.info("removing the files of %s: unused for %d days", session, self._unused_s // DAY_S)
        await self._provider.delete(session)
