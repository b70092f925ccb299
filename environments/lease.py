"""How long a sandbox host may act for its sessions, as it can tell itself."""

import time

#: Why a session does not go on here.
FILES_ELSEWHERE = (
    "the session's files are on the sandbox host {host!r}, which does not run; start it again. The "
    "session goes on elsewhere only where hosts share volumes (EVERLOOP_VOLUMES_DIR) or may lose "
    "files (EVERLOOP_FILES_MAY_BE_LOST)"
)


def boot_clock() -> float:
    """Seconds on a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The lease of this process, seen from here: over before the database sees it so."""

    def __init__(self, lease_s: float) -> None:
        """Hold none yet; `lease_s` are the seconds that each renewal gives."""
        self._lease_s = lease_s
        self._until = 0.0

    def renewed(self, asked_at: float) -> None:
        """It was renewed by a request that was sent at `asked_at`, on the clock of `boot_clock`."""
        self._until = asked_at + self._lease_s

    @property
    def over(self) -> bool:
        """Whether another host may have taken sessions over."""
        return boot_clock() >= self._until
