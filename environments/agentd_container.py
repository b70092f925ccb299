"""The first process of a container: makes agentd's socket, starts agentd as the session's user.

The socket is bound here, by root, in a directory that the session's user cannot write: no command
can put another in its place. Then a child gives up root for good and becomes agentd; this process
keeps nothing but the duty to collect orphans, and ends when agentd does, and the container with it.

Reads AGENTD_SOCKET (the path to bind), AGENTD_USER (the user and group to become) and AGENTD_VOLUME
(the session's files, where putting back a snapshot may have been cut short); the rest of the
environment is agentd's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from types import FrameType

from environments.agentd_restore import finish
from environments.agentd_seccomp import UnknownMachine, install

#: As many connections wait as agentd serves at once.
BACKLOG = 128
_PR_SET_NO_NEW_PRIVS = 38
_AGENTD = (
    "-SsEB",
    "-c",
    "import sys; sys.path.insert(0, '/opt/everloop'); from environments.agentd import main; main()",
)
#: As a shell reports an end by TERM.
TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Start agentd, and stay until it ends."""
    path = os.environ.pop("AGENTD_SOCKET")
    user = int(os.environ.pop("AGENTD_USER"))
    volume = os.environ.pop("AGENTD_VOLUME", None)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(BACKLOG)
    child = os.fork()
    if child == 0:
        _become(user)
        if volume is not None:
            # Not where commands have made something else of the place: it is theirs.
            with contextlib.suppress(OSError):
                finish(volume)
        # On a machine that is not known the engine's own filter has to do.
        with contextlib.suppress(UnknownMachine):
            install()
        os.set_inheritable(listener.fileno(), True)
        os.environ["AGENTD_FD"] = str(listener.fileno())
        # A new program: this one's memory, which was root's, is closed to the user it became.
        os.execv(sys.executable, [sys.executable, *_AGENTD])
    listener.close()
    signal.signal(signal.SIGTERM, _leave)
    while True:
        ended, status = os.wait()
        if ended == child:
            sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _become(user: int) -> None:
    os.setsid()
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
