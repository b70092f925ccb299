"""A volume as a compressed tar file, and back. Blocking.

Commands may move and replace everything while it is read: each directory is opened from the one
above it, no link is followed, and a file is read from the descriptor that told its size. What comes
back goes into a new directory that no command can reach before it is whole.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from environments.agentd_beneath import DEPTH_MAX, QUOTA, VolumeError

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes of all files of a snapshot: as many as a volume may take by default.
CONTENT_BYTES = 4 * 1024**3
#: Names in a snapshot.
ENTRIES_MAX = 500_000
#: Of gzip: higher ones take several times as long and save a tenth.
COMPRESSION = 1
#: Bytes read at a time.
CHUNK = 256 * 1024

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass
class Packed:
    """What a snapshot has: files, directories and links; bytes of files; what could not be kept."""

    entries: int = 0
    content_bytes: int = 0
    left_out: int = 0


def pack(volume: Path, into: IO[bytes]) -> Packed:
    """Write all that is in a volume.

    Files with several names become several files. Sockets, pipes and devices are left out and
    counted. A file that changes meanwhile is taken as it is read.

    Raises:
        VolumeError: QUOTA, there is too much.
    """
    packed = Packed()
    with tarfile.open(
        fileobj=into,
        mode="w:gz",
        compresslevel=COMPRESSION,
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        root = os.open(volume, _DIRECTORY)
        try:
            _pack_directory(archive, root, "", packed, 1)
        finally:
            os.close(root)
    return packed


def _pack_directory(
    archive: tarfile.TarFile, directory: int, path: str, packed: Packed, depth: int
) -> None:
    if depth > DEPTH_MAX:
        raise _too_much(f"directories are more than {DEPTH_MAX} deep")
    for name in sorted(os.listdir(directory)):
        packed.entries += 1
        if packed.entries > ENTRIES_MAX:
            raise _too_much(f"it has more than {ENTRIES_MAX:,} files")
        # What goes away while it is read was not there.
        try:
            _pack_entry(archive, directory, name, f"{path}{name}", packed, depth)
        except (FileNotFoundError, NotADirectoryError):
            packed.entries -= 1
        except PermissionError:
            # Only root reads what its owner has closed to itself.
            packed.entries -= 1
            packed.left_out += 1


def _pack_entry(
    archive: tarfile.TarFile, directory: int, name: str, path: str, packed: Packed, depth: int
) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        header = _header(path, found, tarfile.SYMTYPE)
        header.linkname = os.readlink(name, dir_fd=directory)
        archive.addfile(header)
    elif stat.S_ISDIR(found.st_mode):
        fd = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            archive.addfile(_header(path, os.fstat(fd), tarfile.DIRTYPE))
            _pack_directory(archive, fd, f"{path}/", packed, depth + 1)
        finally:
            os.close(fd)
    elif stat.S_ISREG(found.st_mode):
        _pack_file(archive, os.open(name, _FILE, dir_fd=directory), path, packed)
    else:
        packed.entries -= 1
        packed.left_out += 1


def _pack_file(archive: tarfile.TarFile, fd: int, path: str, packed: Packed) -> None:
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            packed.left_out += 1
            return
        packed.content_bytes += found.st_size
        if packed.content_bytes > CONTENT_BYTES:
            raise _too_much(f"its files have more than {CONTENT_BYTES:,} bytes")
        header = _header(path, found, tarfile.REGTYPE)
        header.size = found.st_size
        archive.addfile(header, _Exactly(file, found.st_size))


class _Exactly:
    """A file that has as many bytes as it had: longer ones are cut, shorter ones end in zeros."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = self._file.read(size)
        self._left -= size
        return data + bytes(size - len(data))


def unpack(packed: IO[bytes], volume: Path, user: int) -> None:
    """Put back what `pack` wrote, into an empty directory of ours.

    Args:
        packed: the archive, which is known to be as it was written.
        volume: where to.
        user: who owns all of it.

    Raises:
        OSError: it does not fit.
        tarfile.TarError: it is no such archive.
    """
    root = os.open(volume, _DIRECTORY)
    directories: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(
            fileobj=packed, mode="r:gz", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for member in archive:
                _unpack_entry(archive, member, root, user)
                if member.isdir():
                    directories.append(member)
        # Only now: a directory that cannot be written could not have been filled.
        for member in reversed(directories):
            with _Parent(root, member.name) as (parent, name):
                fd = os.open(name, _DIRECTORY, dir_fd=parent)
                try:
                    os.fchmod(fd, member.mode & 0o777)
                    os.utime(fd, (member.mtime, member.mtime))
                finally:
                    os.close(fd)
    finally:
        os.close(root)


def _unpack_entry(archive: tarfile.TarFile, member: tarfile.TarInfo, root: int, user: int) -> None:
    with _Parent(root, member.name) as (parent, name):
        if member.isdir():
            os.mkdir(name, 0o700, dir_fd=parent)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
        elif member.isreg():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as file:
                source = archive.extractfile(member)
                assert source is not None
                for data in _chunks(source):
                    file.write(data)
                os.fchmod(file.fileno(), member.mode & 0o777)
        else:
            raise tarfile.TarError(f"a member is of type {member.type!r}")
        if os.geteuid() == 0:
            os.chown(name, user, user, dir_fd=parent, follow_symlinks=False)
        if not member.isdir():
            times = (member.mtime, member.mtime)
            os.utime(name, times, dir_fd=parent, follow_symlinks=False)


class _Parent:
    """The directory that a member goes into, opened step by step without following links."""

    def __init__(self, root: int, path: str) -> None:
        self._steps = path.split("/")
        if any(step in ("", ".", "..") for step in self._steps):
            raise tarfile.TarError("a member's name leads elsewhere")
        self._fd = os.dup(root)

    def __enter__(self) -> tuple[int, str]:
        for step in self._steps[:-1]:
            deeper = os.open(step, _DIRECTORY, dir_fd=self._fd)
            os.close(self._fd)
            self._fd = deeper
        return self._fd, self._steps[-1]

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while data := source.read(CHUNK):
        yield data


def _header(path: str, found: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.type = kind
    # Whoever restores it decides whose it is, and nothing of it ever runs as somebody else.
    header.mode = found.st_mode & 0o777
    header.mtime = int(found.st_mtime)
    return header


def _too_much(why: str) -> VolumeError:
    return VolumeError(QUOTA, f"The session is too large for a snapshot: {why}.")
