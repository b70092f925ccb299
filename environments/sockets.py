"""Unix sockets by directory and name, however long the path: the kernel takes 108 bytes at most."""

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from environments.channel import ANSWER_BYTES, Streams

#: Connections that wait to be taken; as many as agentd serves at once.
BACKLOG = 128


def listen(path: Path) -> socket.socket:
    """Bind a new listening socket at `path`."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as name:
        listener.bind(name)
    listener.listen(BACKLOG)
    return listener


async def connect(path: Path) -> Streams:
    """Connect to the socket at `path`.

    Raises:
        ConnectionError: nobody listens there, or it is gone.
    """
    try:
        with _short(path) as name:
            return await asyncio.open_unix_connection(name, limit=ANSWER_BYTES)
    except FileNotFoundError:
        raise ConnectionError(f"no socket at {path}") from None


@contextmanager
def _short(path: Path) -> Generator[str]:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
