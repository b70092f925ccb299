"""Who has a sandbox host's name, and how long it may act for its sessions, as it can tell."""

import asyncio
import time
import uuid
from pathlib import Path

from contracts.environment import HostVolumes
from contracts.errors import EnvironmentUnavailable, StaleAttempt
from store.environments import Environments

#: Seconds between two tries to have a name.
CLAIM_AGAIN_S = 0.5

#: Why a session does not go on here.
FILES_ELSEWHERE = (
    "the session's files are on the sandbox host {host!r}, which does not run; start it again. The "
    "session goes on elsewhere only where hosts share volumes (EVERLOOP_VOLUMES_DIR) or may lose "
    "files (EVERLOOP_FILES_MAY_BE_LOST)"
)


def place_of(run: Path) -> str:
    """What names a data directory, made once; `run` is a directory in it, and ours."""
    path = run / "place"
    place = path.read_text() if path.exists() else ""
    if not place:
        place = uuid.uuid4().hex
        path.write_text(place)
    return place


async def claim_name(
    records: Environments, host: str, place: str, shares: HostVolumes, lease_s: float
) -> None:
    """Take a host's name; the process of another data directory may have died a moment ago.

    Args:
        records: of hosts.
        host: the name.
        place: names the data directory.
        shares: what the host shares with others.
        lease_s: seconds that the lease of another may still run.

    Raises:
        EnvironmentUnavailable: another lives.
    """
    deadline = time.monotonic() + lease_s + CLAIM_AGAIN_S
    while not await records.claim(host, place, shares):
        if time.monotonic() > deadline:
            raise EnvironmentUnavailable(
                f"another sandbox host, with another data directory, has the name {host!r} and is "
                "alive: give each an EVERLOOP_HOST_ID of its own"
            )
        await asyncio.sleep(CLAIM_AGAIN_S)


def boot_clock() -> float:
    """Seconds on a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of this process, seen from here: over before the database sees it so."""

    def __init__(self, lease_s: float) -> None:
        """Hold none yet; `lease_s` are the seconds that each renewal gives."""
        self._lease_s = lease_s
        self._until = 0.0
        self.lost = asyncio.Event()

    async def renew(self, records: Environments, host: str, place: str) -> None:
        """Renew it.

        Raises:
            StaleAttempt: the process of another data directory has the host's name.
        """
        asked_at = boot_clock()
        try:
            await records.beat(host, lease_s=self._lease_s, place=place)
        except StaleAttempt:
            self.lost.set()
            raise
        self.renewed(asked_at)

    def renewed(self, asked_at: float) -> None:
        """It was renewed by a request that was sent at `asked_at`, on the clock of `boot_clock`."""
        self._until = asked_at + self._lease_s

    @property
    def over(self) -> bool:
        """Whether another host may have taken sessions over."""
        return boot_clock() >= self._until
