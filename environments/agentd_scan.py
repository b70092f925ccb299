"""What files a volume has, and their checksums. Blocking; for a thread.

Commands may change directories under the look, and put links in their place: every step is opened
from the directory before it, and none is followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Names that one look may meet. They take about 0.1 s.
NAMES_MAX = 20_000
#: Seconds that one look may take: of a volume over a network every name is a round trip.
LOOK_S = 1.0
#: Directories below each other.
DEPTH_MAX = 64
#: Directories that hold what programs install and keep for themselves; so do hidden ones.
LEFT_OUT = frozenset({"node_modules", "__pycache__", "venv", "lost+found"})

#: Inode, size, and the times of the last change of content and of anything, in nanoseconds.
Signature = tuple[int, int, int, int]
Files = dict[str, Signature]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: What opening meets when a command has changed it since its directory was read.
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}


class TooMuch(Exception):
    """A volume is too large to be looked at; the text says why."""


def scan(volume: Path, *, clock: Callable[[], float] = time.monotonic) -> Files:
    """The files of a volume by path, without links, and without what `LEFT_OUT` says.

    Raises:
        TooMuch: there are too many, or looking takes too long.
        OSError: the volume cannot be read.
    """
    found = Files()
    root = os.open(volume, _DIRECTORY)
    try:
        _Look(found, clock() + LOOK_S, clock).directory(root, "", 0)
    finally:
        os.close(root)
    return found


class _Look:
    def __init__(self, found: Files, deadline: float, clock: Callable[[], float]) -> None:
        self._found = found
        self._deadline = deadline
        self._clock = clock
        self._names = 0

    def directory(self, fd: int, prefix: str, depth: int) -> None:
        if self._clock() > self._deadline:
            raise TooMuch(f"looking at the session's files takes more than {LOOK_S:.0f} s")
        below = self._names_in(fd, prefix)
        if depth == DEPTH_MAX and below:
            raise TooMuch(f"the session's directories are more than {DEPTH_MAX} deep")
        for name in below:
            try:
                child = os.open(name, _DIRECTORY, dir_fd=fd)
            except OSError as error:
                if error.errno not in _MOVED:
                    raise
                continue
            try:
                self.directory(child, f"{prefix}{name}/", depth + 1)
            finally:
                os.close(child)

    def _names_in(self, fd: int, prefix: str) -> list[str]:
        """Note the files of a directory; its directories."""
        below: list[str] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                self._names += 1
                if self._names > NAMES_MAX:
                    raise TooMuch(f"the session has more than {NAMES_MAX:,} files and directories")
                if entry.name.startswith(".") or entry.name in LEFT_OUT:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            self._found[prefix + entry.name] = _signature(status)
        return below


def name_of(path: str) -> str:
    """A path as text that any JSON can carry."""
    return os.fsencode(path).decode("latin-1")


def path_of(name: str) -> str:
    """The path that `name_of` gave.

    Raises:
        ValueError: it gave none such.
    """
    return os.fsdecode(name.encode("latin-1"))


def checksums(volume: Path, files: Iterable[tuple[str, Signature]]) -> list[str | None]:
    """The SHA-256 of each file, in hexadecimal; None of one that is another by now."""
    return [_checksum(volume, path, signature) for path, signature in files]


def _checksum(volume: Path, path: str, signature: Signature) -> str | None:
    with contextlib.suppress(OSError):
        data = _read(volume, path, signature)
        return None if data is None else hashlib.sha256(data).hexdigest()
    return None


def _read(volume: Path, path: str, signature: Signature) -> bytes | None:
    *steps, name = path.split("/")
    directory = os.open(volume, _DIRECTORY)
    try:
        for step in steps:
            below = os.open(step, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        fd = os.open(name, _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    with open(fd, "rb") as file:
        if _signature(os.fstat(fd)) != signature:
            return None
        data = file.read(signature[1])
        return data if _signature(os.fstat(fd)) == signature else None


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
