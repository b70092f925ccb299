"""Puts what was unpacked in the place of a volume's files, however often that is cut short.

Where a volume is mounted it cannot be replaced as a whole. So the new files are unpacked into a
directory in it, a mark says that they are whole, the old ones go into another directory beside
them, the mark changes, and the new ones come out. Whoever comes next goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable

#: In the volume, while files are put back.
PLACE = ".everloop-restore"
_NEW, _OLD, _OUT, _IN = "new", "old", "out", "in"


def prepare(volume: str) -> str:
    """An empty directory in a volume, for `put_in_place`.

    Raises:
        OSError: it cannot be made.
    """
    finish(volume)
    place = os.path.join(volume, PLACE)
    for path in (place, os.path.join(place, _OLD), os.path.join(place, _NEW)):
        os.mkdir(path, 0o700)
    return os.path.join(place, _NEW)


def put_in_place(volume: str) -> None:
    """Put what is in the directory of `prepare` in the place of all files of the volume.

    Raises:
        OSError: something cannot be moved; `finish` goes on.
    """
    # The mark must not outlive a power cut that what it speaks of does not.
    os.sync()
    os.close(os.open(os.path.join(volume, PLACE, _OUT), os.O_WRONLY | os.O_CREAT, 0o600))
    os.sync()
    finish(volume)


def finish(volume: str) -> None:
    """End what was cut short: files that were whole are put in place, others go away.

    Raises:
        OSError: something cannot be moved.
    """
    place = os.path.join(volume, PLACE)
    if not os.path.lexists(place):
        return
    if not stat.S_ISDIR(os.lstat(place).st_mode):
        os.unlink(place)
        return
    out, into = os.path.join(place, _OUT), os.path.join(place, _IN)
    if os.path.lexists(out):
        for name in os.listdir(volume):
            if name != PLACE:
                _move(os.path.join(volume, name), os.path.join(place, _OLD, name))
        os.rename(out, into)
    if os.path.lexists(into):
        for name in os.listdir(os.path.join(place, _NEW)):
            _move(os.path.join(place, _NEW, name), os.path.join(volume, name))
    shutil.rmtree(place, onerror=_unlock)


def _move(source: str, target: str) -> None:
    found = os.lstat(source)
    locked = stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_IWUSR
    if locked:
        # A directory that changes its parent is written. Cut short here, it stays open.
        os.chmod(source, 0o700)
    os.rename(source, target)
    if locked:
        os.chmod(target, stat.S_IMODE(found.st_mode))


def _unlock(remove: Callable[[str], object], path: str, _: object) -> None:
    """Open what its owner has locked, and remove it then."""
    os.chmod(os.path.dirname(path), 0o700)
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700, follow_symlinks=False)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
