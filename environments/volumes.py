"""The directories that hold sessions' files on this machine, and the host user that owns each.

Started by root, every session has a host user of its own: the kernel then keeps sessions apart even
where a namespace would not, and counts processes per session. The owner of a session's directory is
the record of that user.

A volume is a plain directory, or a disk image of a fixed size that is mounted there while its
environment runs: the kernel then refuses what does not fit.
"""

import hashlib
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import EnvironmentUnavailable
from contracts.ids import volume_name

#: User ids that systemd leaves unused, 2**28 of them.
FIRST_USER = 1879048192
USERS = 2**28
#: Seconds for mkfs, mount and umount; they take milliseconds.
TOOL_S = 30
#: Entries of a volume that are counted; one with more is taken for full.
ENTRIES_MAX = 2_000_000
#: Where snapshots and other notes of hosts are, beside the volumes. No volume has such a name.
SNAPSHOTS = ".snapshots"
#: Begins the names of volumes that are to take the place of others.
_FRESH = "fresh-"
#: Whoever looks for a volume between the two renames of `replace_volume` waits for the second.
_RENAMING = threading.Lock()


def beside(volume: Path) -> Path:
    """Where the host keeps what belongs to a volume; its commands cannot see it."""
    return volume.parent / SNAPSHOTS / volume.name


def is_readable(volume: Path) -> bool:
    """Whether a volume's files can be read where it is: a disk image must be mounted."""
    return volume.exists() and (os.path.ismount(volume) or not _image(volume).exists())


def aside(volume: Path) -> Path:
    """Where a volume is while another takes its place."""
    return beside(volume) / "replaced"


@contextmanager
def fresh_volume(volume: Path, user: int) -> Generator[Path]:
    """A new, empty volume like another, for `replace_volume`; it is removed when it was not used.

    Args:
        volume: the other: a directory, or a disk image that is mounted.
        user: who owns the new one.

    Raises:
        EnvironmentUnavailable: its disk image cannot be made or mounted.
    """
    directory = beside(volume)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in directory.glob(f"{_FRESH}*"):
        # Of a host that died.
        _discard(left) if left.is_dir() else left.unlink(missing_ok=True)
    fresh = directory / f"{_FRESH}{uuid.uuid4().hex}"
    try:
        fresh.mkdir(mode=0o700)
        if os.path.ismount(volume):
            _make_image(_image(fresh), _image(volume).stat().st_size, user)
            _mount(fresh, new=True)
        elif os.geteuid() == 0:
            os.chown(fresh, user, user)
        yield fresh
    finally:
        _discard(fresh)


def replace_volume(fresh: Path, volume: Path) -> None:
    """Put a new volume in the place of another, which is aside until it is removed.

    Should the host die meanwhile, `Volumes.ensure` finds one of them again.
    """
    if os.path.ismount(fresh):
        # Whole on the disk, and in use nowhere, before anybody can find it.
        _run("umount", str(fresh))
        with _RENAMING:
            _release(volume)
            _image(fresh).rename(_image(volume))
            _mount(volume)
        return
    old = aside(volume)
    _remove(old)
    if os.geteuid() != 0:
        # A directory that changes its parent is written; a command may have locked its home.
        volume.chmod(0o700)
    with _RENAMING:
        volume.rename(old)
        fresh.rename(volume)
    _remove(old)


class Volumes:
    """The session volumes below one directory."""

    def __init__(self, directory: Path, *, image_bytes: int | None = None) -> None:
        """Hold nothing yet.

        Args:
            directory: made when it is first needed.
            image_bytes: the size of new volumes' disk images; plain directories when None.
        """
        self._directory = directory
        self._image_bytes = image_bytes

    def ensure(self, session: str) -> tuple[Path, int]:
        """The volume of a session, made and mounted when it is not.

        Returns:
            Its path and the host user that owns it.

        Raises:
            EnvironmentUnavailable: its disk image cannot be made or mounted.
        """
        path = self._path(session)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = aside(path)
        with _RENAMING:
            if not path.exists() and old.exists():
                # A host died between taking the old one away and putting the new one in its place.
                old.rename(path)
            path.mkdir(mode=0o700, exist_ok=True)
        user = path.stat().st_uid
        if os.geteuid() == 0 and not FIRST_USER <= user < FIRST_USER + USERS:
            user = self._free_user(session)
            os.chown(path, user, user)
        image = _image(path)
        # What already has files in a plain directory keeps them there.
        is_bare = not image.exists() and not any(path.iterdir())
        if self._image_bytes is not None and is_bare:
            _make_image(image, self._image_bytes, user)
        with _RENAMING:
            if image.exists() and not os.path.ismount(path):
                _mount(path, new=is_bare)
        return path, user

    def release(self, path: Path) -> None:
        """Unmount the disk image of a volume that nobody uses now. Idempotent."""
        _release(path)

    def delete(self, session: str) -> None:
        """Remove a session's volume with all that is in it. Idempotent."""
        self.delete_named(volume_name(session))

    def delete_named(self, name: str) -> None:
        """Remove the volume in the directory of this name. Idempotent."""
        path = self._directory / name
        _remove(beside(path))
        self.release(path)
        _remove(path)
        _image(path).unlink(missing_ok=True)

    def used_bytes(self, session: str) -> int | None:
        """What a session's files take on the disk; None where a disk image bounds them.

        Blocks for as long as it takes to look at every file.
        """
        path = self._path(session)
        if os.path.ismount(path) or not path.exists():
            return None
        total = entries = 0
        linked: set[int] = set()
        # By descriptors: a command may put a link in a directory's place while this looks.
        for _, directories, files, descriptor in os.fwalk(path, onerror=None):
            for name in (*directories, *files):
                entries += 1
                try:
                    found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except OSError:
                    continue
                if found.st_nlink > 1 and found.st_ino in linked:
                    continue
                linked.add(found.st_ino)
                total += found.st_blocks * 512
            if entries > ENTRIES_MAX:
                return 2**63
        return total

    def _path(self, session: str) -> Path:
        return self._directory / volume_name(session)

    def _free_user(self, session: str) -> int:
        taken = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(self._directory)}
        # Of the directory too: processes are counted per user on the whole machine, and another
        # host's session may have the same name.
        key = f"{self._directory.absolute()} {session}"
        offset = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % USERS
        while FIRST_USER + offset in taken:
            offset = (offset + 1) % USERS
        return FIRST_USER + offset


def _image(path: Path) -> Path:
    return path.with_name(f"{path.name}.img")


def _mount(path: Path, *, new: bool = False) -> None:
    _run("mount", "-o", "loop,nosuid,nodev,noatime", str(_image(path)), str(path))
    if new:
        (path / "lost+found").rmdir()


def _release(path: Path) -> None:
    if os.path.ismount(path):
        # Lazily: a copy in the mount namespace of another sandbox keeps it busy.
        _run("umount", "--lazy", str(path))


def _remove(path: Path) -> None:
    """Remove a directory, also where a command has locked its own. Idempotent.

    Raises:
        OSError: something in it cannot be removed.
    """
    if not path.exists():
        return
    if os.geteuid() != 0:
        path.chmod(0o700)
        for directory, names, _ in os.walk(path):
            for name in names:
                child = os.path.join(directory, name)
                if not os.path.islink(child):
                    os.chmod(child, 0o700)
    shutil.rmtree(path)


def _discard(fresh: Path) -> None:
    _release(fresh)
    _remove(fresh)
    _image(fresh).unlink(missing_ok=True)


def _make_image(image: Path, size: int, user: int) -> None:
    """Make a sparse file with an empty file system that belongs to the session's user."""
    fresh = image.with_name(f"{image.name}.new")
    with open(fresh, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
    # No blocks are kept for root: they would be lost to the session.
    owner = f"root_owner={user}:{user}"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", owner, str(fresh))
    fresh.replace(image)


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=TOOL_S, check=False, stdin=None
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnavailable(f"{argv[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        raise EnvironmentUnavailable(f"{argv[0]} failed: {done.stderr.strip()[:500]}")
