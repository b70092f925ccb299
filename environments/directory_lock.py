"""One live sandbox host for each data directory: a lock that its process holds until it ends."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from contracts.errors import EnvironmentUnavailable

#: Seconds between two tries.
AGAIN_S = 0.1


async def lock_directory(path: Path, patience_s: float) -> int:
    """Take the lock.

    Args:
        path: the lock's file, in a directory of the data directory.
        patience_s: seconds that a predecessor has to end.

    Returns:
        The descriptor that holds the lock while it is open.

    Raises:
        EnvironmentUnavailable: another live process owns the data directory.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise EnvironmentUnavailable(
                    f"another sandbox host owns {path.parent.parent}"
                ) from None
            await asyncio.sleep(AGAIN_S)
        else:
            return fd
