"""The first process of the sandbox: it collects orphans, and nothing inside can get hold of it.

bubblewrap's own would be as good but for one thing: commands have its user id and may trace it, and
by way of it write to files of the host's that it has open. This one has none open and is hidden.
"""

from __future__ import annotations

import ctypes
import os

#: Whatever started us may have left more open than it should.
STRAY_FD_MAX = 1024
_PR_SET_DUMPABLE = 4


def split() -> None:
    """Go on as a child of a first process, if this is the first.

    The first process ends when its child does, and the kernel ends whatever else runs.
    """
    if os.getpid() != 1:
        return
    child = os.fork()
    if child == 0:
        return
    hide()
    os.closerange(0, STRAY_FD_MAX)
    while True:
        # Interrupted by nothing: the first process gets no signal that it has no handler for.
        pid, status = os.wait()
        if pid == child:
            os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def hide() -> None:
    """Keep equals, which commands are, from our memory, our environment and our descriptors."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
