"""One supervisor for each data directory.

The lock is the kernel's, so it goes with its holder however that one ends.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from everloop.dev.errors import AlreadyRunning
from everloop.dev.layout import DataDir

#: Seconds to try again: `is_held` takes the lock for an instant to see whether it is free.
PATIENCE_S = 0.5
RETRY_S = 0.02


class DevLock:
    """The exclusive lock on a data directory, held from entering to leaving the context."""

    def __init__(self, data: DataDir) -> None:
        """Prepare the lock of a data directory, whose directories exist."""
        self._data = data
        self._file: int | None = None

    def __enter__(self) -> "DevLock":
        """Take the lock and write our pid into it.

        Raises:
            AlreadyRunning: another process holds it.
        """
        file = os.open(self._data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PATIENCE_S
        while not _try_lock(file):
            if time.monotonic() > deadline:
                os.close(file)
                raise AlreadyRunning(str(self._data.root), _read_pid(self._data.lock))
            time.sleep(RETRY_S)
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let it go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_held(data: DataDir) -> bool:
    """Whether a supervisor runs on the data directory now."""
    try:
        file = os.open(data.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(path: Path) -> int | None:
    text = path.read_text().strip()
    return int(text) if text.isdecimal() else None
