"""Opening what a session's path means without ever leaving the session's volume.

Whoever runs commands in a session may put links anywhere in its volume and move them while we look.
So the kernel follows none for us: each step is opened from the directory before it, without
following, and a link is read and resolved here, within the volume. `..` goes back to a directory
that was opened before, never to what is its parent by now.

This and what builds on it runs on the sandbox host, where volumes are there, and inside of
environments where they are not: like agentd it needs nothing but Python 3.9.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Links followed in one path; Linux's own number.
LINKS_MAX = 40
#: Directories that one path may lead through; each is open while it is walked.
DEPTH_MAX = 128
#: A path's characters and a name's bytes; Linux's own numbers.
PATH_MAX = 4096
NAME_MAX = 255

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


#: AWS's names of the errors.
VALIDATION = "ValidationException"
NOT_FOUND = "ResourceNotFoundException"
QUOTA = "ServiceQuotaExceededException"


class VolumeError(Exception):
    """What is asked of a volume cannot be done."""

    def __init__(self, error: str, message: str, field: str | None = None) -> None:
        """Hold all three.

        Args:
            error: VALIDATION, NOT_FOUND or QUOTA.
            message: what is wrong and what is allowed.
            field: the member of the request that is wrong.
        """
        super().__init__(message if field is None else f"{field}: {message}")
        self.error = error
        self.message = message
        self.field = field


def invalid(field: str, message: str) -> VolumeError:
    """A member of the request is wrong."""
    return VolumeError(VALIDATION, message, field)


class Beneath:
    """A session's volume, and the path at which its commands see it."""

    def __init__(self, volume: Path, user: int, mount: str) -> None:
        """Open nothing yet.

        Args:
            volume: the directory on this machine.
            user: who owns what is made in it.
            mount: where commands see it, `/mnt/<name>`.
        """
        self._volume = volume
        self._mount = mount.rstrip("/")
        self.user = user

    @contextmanager
    def parent(self, path: str, *, make: bool = False) -> Generator[tuple[int, str]]:
        """The directory that holds what a path names, and its name there.

        The last step is not followed when it is a link. The name of the volume itself is `.`.

        Args:
            path: absolute below the mount, or relative to it.
            make: whether missing directories are made.

        Raises:
            VolumeError: VALIDATION, the path leads out of the volume or through what is
                no directory; NOT_FOUND.
        """
        steps = self._steps(path)
        last = steps.pop() if steps else "."
        if last == "..":
            steps.append(last)
            last = "."
        directory = self._walk(path, steps, make=make)
        try:
            yield directory, last
        finally:
            os.close(directory)

    def open(self, path: str) -> int:
        """Open a file or directory to be read, links within the volume followed.

        Raises:
            VolumeError: as `parent`; also ValidationException when it is neither.
        """
        steps = self._steps(path)
        for _ in range(LINKS_MAX):
            last = steps.pop() if steps else "."
            if last in ("..", "."):
                return self._walk(path, [*steps, last], make=False)
            directory = self._walk(path, steps, make=False)
            try:
                found = _open_last(directory, last)
                if isinstance(found, int):
                    return found
                steps = self._resolved(path, steps, found)
            except OSError as error:
                raise refused(path, error) from None
            finally:
                os.close(directory)
        raise invalid("path", f"{path!r} leads through more than {LINKS_MAX} links")

    def _steps(self, path: str) -> list[str]:
        if len(path) > PATH_MAX or "\0" in path:
            raise invalid("path", f"must have at most {PATH_MAX} characters and no NUL")
        if path.startswith("/"):
            if path != self._mount and not path.startswith(f"{self._mount}/"):
                raise invalid("path", f"must be relative, or below {self._mount}: {path!r}")
            path = path[len(self._mount) :]
        steps = [step for step in path.split("/") if step not in ("", ".")]
        for step in steps:
            if len(os.fsencode(step)) > NAME_MAX:
                raise invalid("path", f"a name in it has more than {NAME_MAX} bytes")
        return steps

    def _resolved(self, path: str, before: list[str], link: str) -> list[str]:
        """The steps to what a link says, which stands in a directory."""
        if link.startswith("/"):
            if link != self._mount and not link.startswith(f"{self._mount}/"):
                raise _outside(path)
            return self._steps(link)
        return [*before, *(step for step in link.split("/") if step not in ("", "."))]

    def _walk(self, path: str, steps: list[str], *, make: bool) -> int:
        """Open the directory at the end of the steps."""
        opened = [os.open(self._volume, _DIRECTORY)]
        todo = list(reversed(steps))
        links = 0
        try:
            while todo:
                step = todo.pop()
                target = None if step in (".", "..") else _link(opened[-1], step)
                if target is not None:
                    links += 1
                    todo += reversed(self._resolved(path, [], target))
                    _close_above(opened, 1 if target.startswith("/") else len(opened))
                elif step == "..":
                    if len(opened) == 1:
                        raise _outside(path)
                    os.close(opened.pop())
                elif step != ".":
                    opened.append(self._enter(opened[-1], step, make))
                if links > LINKS_MAX or len(opened) > DEPTH_MAX:
                    raise invalid(
                        "path",
                        f"{path!r} leads through more than {LINKS_MAX} links or {DEPTH_MAX} "
                        "directories",
                    )
            return opened.pop()
        except OSError as error:
            raise refused(path, error) from None
        finally:
            _close_above(opened, 0)

    def _enter(self, directory: int, name: str, make: bool) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
        except FileExistsError:
            return os.open(name, _DIRECTORY, dir_fd=directory)
        made = os.open(name, _DIRECTORY, dir_fd=directory)
        self.give(made)
        return made

    def give(self, fd: int) -> None:
        """Make what was made here the session's own."""
        if os.geteuid() == 0:
            os.fchown(fd, self.user, self.user)


def refused(path: str, error: OSError) -> VolumeError:
    """What the kernel said about a path, for its caller."""
    if isinstance(error, FileNotFoundError):
        return VolumeError(NOT_FOUND, f"There is no {path!r} in the session.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return VolumeError(QUOTA, "The session's volume is full.")
    return invalid("path", f"{path!r}: {error.strerror}")


def _link(directory: int, name: str) -> str | None:
    """What a link says; None when the name is no link."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _open_last(directory: int, name: str) -> int | str:
    """Open a file or directory; what it says when it is a link."""
    target = _link(directory, name)
    if target is not None:
        return target
    # Without O_NONBLOCK a named pipe would hold us up for good.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "is neither a file nor a directory")


def _close_above(opened: list[int], keep: int) -> None:
    while len(opened) > keep:
        os.close(opened.pop())


def _outside(path: str) -> VolumeError:
    return invalid("path", f"{path!r} leads out of the session's volume")
