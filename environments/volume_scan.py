"""What files a volume has, and which are others than before. Blocking; for a thread.

Commands may change directories under the look, and put links in their place: every step is opened
from the directory before it, and none is followed.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from contracts.turn_files import LISTED_MAX, FileChange, FileChangeKind, TurnFiles
from environments.file_times import moment

#: Names that one look may meet. They take about 0.1 s.
NAMES_MAX = 20_000
#: Seconds that one look may take: of a volume over a network every name is a round trip.
LOOK_S = 1.0
#: Directories below each other.
DEPTH_MAX = 64
#: A file of which a checksum is made, and bytes of all of one list.
HASHED_BYTES, HASHED_TOTAL_BYTES = 4 * 1024**2, 32 * 1024**2
#: Characters of all paths that one list names.
PATH_CHARACTERS = 256 * 1024
#: Directories that hold what programs install and keep for themselves; so do hidden ones.
LEFT_OUT = frozenset({"node_modules", "__pycache__", "venv", "lost+found"})

#: Inode, size, and the times of the last change of content and of anything, in nanoseconds.
Signature = tuple[int, int, int, int]
Files = dict[str, Signature]
#: The checksum of a file that has a signature, as far as one was made.
Checksums = dict[tuple[str, Signature], str]

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


def compare(
    volume: Path, before: Mapping[str, Signature], now: Files, sums: Checksums
) -> TurnFiles:
    """What became of a volume's files.

    Args:
        volume: where they are.
        before: as they were.
        now: as they are.
        sums: checksums of an earlier comparison, which those of this one replace.
    """
    kinds = {path: FileChangeKind.REMOVED for path in before.keys() - now.keys()}
    kinds |= {path: FileChangeKind.CREATED for path in now.keys() - before.keys()}
    changed = (path for path in before.keys() & now.keys() if before[path] != now[path])
    kinds |= dict.fromkeys(changed, FileChangeKind.CHANGED)
    listed: list[FileChange] = []
    made = Checksums()
    characters = hashed = 0
    for path in sorted(kinds)[:LISTED_MAX]:
        characters += len(path)
        if characters > PATH_CHARACTERS:
            break
        signature = now.get(path)
        digest = None
        if signature is not None:
            size = signature[1]
            if size <= HASHED_BYTES and hashed + size <= HASHED_TOTAL_BYTES:
                hashed += size
                digest = sums.get((path, signature)) or _checksum(volume, path, signature)
        if signature is not None and digest is not None:
            made[path, signature] = digest
        listed.append(_change(path, kinds[path], signature, digest))
    sums.clear()
    sums.update(made)
    listed.sort(key=lambda each: each.path)
    numbers = [list(kinds.values()).count(kind) for kind in FileChangeKind]
    return TurnFiles(
        created=numbers[0], changed=numbers[1], removed=numbers[2], files=tuple(listed)
    )


def _change(
    path: str, kind: FileChangeKind, signature: Signature | None, digest: str | None
) -> FileChange:
    shown = os.fsencode(path).decode("utf-8", "replace")
    if signature is None:
        return FileChange(shown, kind)
    return FileChange(shown, kind, signature[1], moment(signature[2] // 10**9), digest)


def _checksum(volume: Path, path: str, signature: Signature) -> str | None:
    """The checksum of a file, unless it is another by now."""
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
