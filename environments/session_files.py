"""A session's files from outside: look, read, write in parts, remove. Blocking; for a thread.

A file that is written becomes visible at once and whole: its parts are collected beside, under
`.harness/uploads`, checked, and renamed to where they belong.
"""

import contextlib
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass
from datetime import datetime

from contracts.errors import AwsError, ServiceError, invalid
from environments.beneath import DEPTH_MAX, Beneath, refused
from environments.file_times import moment

#: A file that is uploaded: as large as one that a command may write.
FILE_BYTES = 1024**3
#: Names that one listing gives; the next begins behind the last of them.
LISTED_MAX = 1000
#: Names in one directory that can be listed at all.
NAMES_MAX = 100_000
#: Uploads of one session that have begun and not ended.
UPLOADS_MAX = 16
#: Seconds after which an upload that nobody went on with is dropped.
UPLOAD_KEPT_S = 24 * 3600
#: Bytes read at a time.
CHUNK = 256 * 1024

UPLOADS = ".harness/uploads"
UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One name in a session.

    Attributes:
        name: as the directory has it; U+FFFD stands for what is not UTF-8.
        type: `file`, `directory`, `link` or `other`.
        size: bytes of a file, else 0.
        modified_at: UTC.
        executable: whether its owner may run it.
    """

    name: str
    type: str
    size: int
    modified_at: datetime
    executable: bool


@dataclass(frozen=True)
class Listing:
    """A directory, from one name on.

    Attributes:
        entries: by name.
        more: whether others follow the last.
    """

    entries: tuple[FileEntry, ...]
    more: bool


@dataclass(frozen=True)
class OpenFile:
    """A file that is open to be read; whoever has it closes `fd`.

    Attributes:
        fd: its descriptor.
        size: bytes.
        etag: changes whenever the file does, as far as its file system notes it.
        modified_at: UTC.
    """

    fd: int
    size: int
    etag: str
    modified_at: datetime


def look(where: Beneath, path: str, start_after: str) -> Listing | OpenFile:
    """Open a file, or list a directory behind a name.

    Raises:
        ServiceError: ValidationException, ResourceNotFoundException.
    """
    fd = where.open(path)
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            return _list(fd, start_after)
        opened = OpenFile(fd, status.st_size, _etag(status), moment(status.st_mtime))
        fd = -1
        return opened
    finally:
        if fd >= 0:
            os.close(fd)


def write(where: Beneath, path: str, data: bytes, *, sha256: str | None) -> FileEntry:
    """Write a whole file, missing directories with it.

    Raises:
        ServiceError: ValidationException, the path or the checksum is wrong;
            ServiceQuotaExceededException, the volume is full.
    """
    upload_id = f"whole-{os.urandom(12).hex()}"
    write_part(where, upload_id, 0, data)
    try:
        return finish(where, path, upload_id, size=len(data), sha256=sha256)
    except BaseException:
        with contextlib.suppress(ServiceError):
            remove(where, f"{UPLOADS}/{upload_id}", recursive=False)
        raise


def write_part(where: Beneath, upload_id: str, offset: int, data: bytes) -> int:
    """Add a part to an upload, which begins with the one at offset 0.

    Returns:
        How many bytes of the file are there, which is where the next part goes. A part that was
        sent before changes nothing.

    Raises:
        ServiceError: ValidationException, the part does not follow what is there or makes the file
            too large; ServiceQuotaExceededException, too many uploads or a full volume.
    """
    _check_id(upload_id)
    if offset + len(data) > FILE_BYTES:
        raise invalid("offset", f"the file would have more than {FILE_BYTES} bytes")
    try:
        with where.parent(f"{UPLOADS}/{upload_id}", make=True) as (directory, name):
            if offset == 0:
                _begin(where, directory, name)
            fd = _own_file(directory, name, os.O_WRONLY)
            try:
                there = os.fstat(fd).st_size
                if offset > there:
                    raise invalid("offset", f"{there} bytes are there; send the part that follows")
                if offset + len(data) > there:
                    _write_all(fd, data, offset)
                    there = offset + len(data)
                return there
            finally:
                os.close(fd)
    except OSError as error:
        raise refused(upload_id, error) from None


def uploaded(where: Beneath, upload_id: str) -> int:
    """How many bytes of an upload are there; 0 when it has not begun.

    Raises:
        ServiceError: ValidationException.
    """
    _check_id(upload_id)
    try:
        with where.parent(f"{UPLOADS}/{upload_id}") as (directory, name):
            fd = _own_file(directory, name, os.O_RDONLY)
            try:
                return os.fstat(fd).st_size
            finally:
                os.close(fd)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise refused(upload_id, error) from None
    except ServiceError as error:
        if error.detail.error is AwsError.NOT_FOUND:
            return 0
        raise


def finish(
    where: Beneath, path: str, upload_id: str, *, size: int, sha256: str | None
) -> FileEntry:
    """Put an upload in its place, if it is whole.

    An upload that was put there before, as its checksum shows, is found there.

    Raises:
        ServiceError: ValidationException, size or checksum are not those given, or a directory is
            in the place; ResourceNotFoundException, there is no such upload.
    """
    _check_id(upload_id)
    if sha256 is not None and not SHA256.fullmatch(sha256):
        raise invalid("sha256", "must be 64 hexadecimal digits in lower case")
    try:
        return _finish(where, path, upload_id, size, sha256)
    except ServiceError as error:
        if sha256 is None or error.detail.error is not AwsError.NOT_FOUND:
            raise
        return _finished_before(where, path, size, sha256, error)


def _finish(where: Beneath, path: str, upload_id: str, size: int, sha256: str | None) -> FileEntry:
    try:
        with where.parent(f"{UPLOADS}/{upload_id}") as (uploads, name):
            fd = _own_file(uploads, name, os.O_RDWR)
            try:
                _check_whole(fd, size, sha256)
                os.fchmod(fd, 0o644)
                where.give(fd)
                os.fsync(fd)
                status = os.fstat(fd)
            finally:
                os.close(fd)
            with where.parent(path, make=True) as (directory, last):
                if last == ".":
                    raise invalid("path", f"{path!r} names a directory")
                os.rename(name, last, src_dir_fd=uploads, dst_dir_fd=directory)
            return _entry(last, status)
    except OSError as error:
        raise refused(path, error) from None


def _finished_before(
    where: Beneath, path: str, size: int, sha256: str, error: ServiceError
) -> FileEntry:
    with contextlib.suppress(ServiceError):
        fd = where.open(path)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                _check_whole(fd, size, sha256)
                return _entry(os.path.basename(path), status)
        finally:
            os.close(fd)
    raise error


def make_directory(where: Beneath, path: str) -> None:
    """Make a directory, and those above it. Nothing happens when it is there.

    Raises:
        ServiceError: ValidationException, something else is in its place.
    """
    with where.parent(f"{path.rstrip('/')}/.made", make=True):
        pass


def remove(where: Beneath, path: str, *, recursive: bool) -> None:
    """Remove a file, a link, or a directory with all that is in it when `recursive`.

    Raises:
        ServiceError: ValidationException, it is a directory that is not empty;
            ResourceNotFoundException.
    """
    try:
        with where.parent(path) as (directory, name):
            if name == ".":
                raise invalid("path", "the volume itself cannot be removed")
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=directory)
            elif recursive:
                _remove_tree(directory, name, 1)
            else:
                os.rmdir(name, dir_fd=directory)
    except OSError as error:
        raise refused(path, error) from None


def _remove_tree(directory: int, name: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise invalid("path", f"it is more than {DEPTH_MAX} directories deep; use a command")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove_tree(fd, entry.name, depth + 1)
                else:
                    os.unlink(entry.name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def _list(fd: int, start_after: str) -> Listing:
    with os.scandir(fd) as entries:
        names: list[str] = []
        for entry in entries:
            if len(names) >= NAMES_MAX:
                raise invalid("path", f"the directory has more than {NAMES_MAX} names")
            names.append(entry.name)
    wanted = sorted(name for name in names if name > start_after)
    found: list[FileEntry] = []
    for name in wanted[:LISTED_MAX]:
        # It may be gone since it was listed.
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            found.append(_entry(name, status))
    return Listing(tuple(found), len(wanted) > LISTED_MAX)


def _entry(name: str, status: os.stat_result) -> FileEntry:
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((word for test, word in kinds if test(status.st_mode)), "other")
    return FileEntry(
        name=os.fsencode(name).decode("utf-8", "replace"),
        type=kind,
        size=status.st_size if kind == "file" else 0,
        modified_at=moment(status.st_mtime),
        executable=kind == "file" and bool(status.st_mode & stat.S_IXUSR),
    )


def _etag(status: os.stat_result) -> str:
    text = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _begin(where: Beneath, directory: int, name: str) -> None:
    """Make an upload's file unless it is there; drop uploads that were left."""
    count = 0
    now = time.time()
    with os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if now - status.st_mtime > UPLOAD_KEPT_S and not stat.S_ISDIR(status.st_mode):
                os.unlink(entry.name, dir_fd=directory)
            else:
                count += entry.name != name
    if count >= UPLOADS_MAX:
        raise ServiceError(
            AwsError.QUOTA,
            f"{UPLOADS_MAX} uploads of the session have not ended; end one, or remove it from "
            f"{UPLOADS}.",
        )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError):
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            where.give(fd)
        finally:
            os.close(fd)


def _own_file(directory: int, name: str, mode: int) -> int:
    """Open the file of an upload, which a command may have put something else in the place of.

    Never one with another name elsewhere: its owner and mode are about to change.
    """
    fd = os.open(name, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return fd
    os.close(fd)
    raise invalid("uploadId", "a command of the session has put something else in its place")


def _check_whole(fd: int, size: int, sha256: str | None) -> None:
    there = os.fstat(fd).st_size
    if there != size:
        raise invalid("size", f"{there} bytes were uploaded, not {size}")
    if sha256 is None:
        return
    digest = hashlib.sha256()
    offset = 0
    while data := os.pread(fd, CHUNK, offset):
        digest.update(data)
        offset += len(data)
    if digest.hexdigest() != sha256:
        raise invalid("sha256", f"what was uploaded has {digest.hexdigest()}")


def _write_all(fd: int, data: bytes, offset: int) -> None:
    while data:
        count = os.pwrite(fd, data, offset)
        offset += count
        data = data[count:]


def _check_id(upload_id: str) -> None:
    if not UPLOAD_ID.fullmatch(upload_id):
        raise invalid("uploadId", f"must match {UPLOAD_ID.pattern}")
