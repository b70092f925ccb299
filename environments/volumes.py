"""The directories that hold sessions' files on this machine, and the host user that owns each.

Started by root, every session has a host user of its own: the kernel then keeps sessions apart even
where a namespace would not, and counts processes per session. The owner of a session's directory is
the record of that user.
"""

import hashlib
import os
import shutil
from pathlib import Path

#: User ids that systemd leaves unused, 2**28 of them.
FIRST_USER = 1879048192
USERS = 2**28


class Volumes:
    """The session volumes below one directory."""

    def __init__(self, directory: Path) -> None:
        """Args: `directory` is made when it is first needed."""
        self._directory = directory

    def ensure(self, session: str) -> tuple[Path, int]:
        """The volume of a session, made when there is none.

        Returns:
            Its path and the host user that owns it.
        """
        path = self._path(session)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        user = path.stat().st_uid
        if os.geteuid() == 0 and not FIRST_USER <= user < FIRST_USER + USERS:
            user = self._free_user(session)
            os.chown(path, user, user)
        return path, user

    def delete(self, session: str) -> None:
        """Remove a session's volume with all that is in it. Idempotent."""
        path = self._path(session)
        if not path.exists():
            return
        if os.geteuid() != 0:
            for directory, names, _ in os.walk(path):
                # A command may have locked its own directories.
                for name in names:
                    child = os.path.join(directory, name)
                    if not os.path.islink(child):
                        os.chmod(child, 0o700)
        shutil.rmtree(path)

    def _path(self, session: str) -> Path:
        return self._directory / hashlib.sha256(session.encode()).hexdigest()[:32]

    def _free_user(self, session: str) -> int:
        taken = {entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(self._directory)}
        offset = int.from_bytes(hashlib.sha256(session.encode()).digest()[:4]) % USERS
        while FIRST_USER + offset in taken:
            offset = (offset + 1) % USERS
        return FIRST_USER + offset
