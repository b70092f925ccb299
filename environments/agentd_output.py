"""What a command writes: head and tail in memory, all of it in a file when that is not enough."""

from __future__ import annotations

import os

#: A full output beyond this is cut in its file too: one `yes` must not fill the session's volume.
FILE_BYTES = 64 * 1024**2
#: All files of full output together; the oldest are removed first.
DIRECTORY_BYTES = 256 * 1024**2


class Capture:
    """One output stream of one command."""

    def __init__(self, path: str, limit: int) -> None:
        """Keep nothing yet.

        Args:
            path: where the full output goes once it exceeds `limit`.
            limit: bytes of head, and of tail, kept in memory.
        """
        self.path = path
        self.total = 0
        self.in_file = False
        self._limit = limit
        self._head = bytearray()
        self._tail = bytearray()
        self._fd: int | None = None
        self._failure: str | None = None
        self._written = 0

    def feed(self, data: bytes) -> None:
        """Take what the command wrote."""
        if self._fd is None and self.total + len(data) > self._limit:
            self.keep_in_file()
        self.total += len(data)
        if len(self._head) < self._limit:
            self._head += data[: self._limit - len(self._head)]
        self._tail += data
        if len(self._tail) > 2 * self._limit:
            del self._tail[: -self._limit]
        if self._fd is not None:
            self._write(data)

    def keep_in_file(self) -> None:
        """Write all that has come, and all that will come, to the file too.

        A command may have put anything where the file belongs, or filled the volume: then the
        output has no file, and `render` says why.
        """
        if self._fd is not None or self._failure is not None:
            return
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            make_room(os.path.dirname(self.path))
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            self._failure = error.strerror or str(error)
            return
        self.in_file = True
        # Before the limit is passed the head is all there is.
        self._write(bytes(self._head))

    def render(self, budget: int) -> tuple[str, int]:
        """Give head and tail with a line between that says what was left out.

        Args:
            budget: bytes of the stream to show, at most the limit.

        Returns:
            The text, and how many bytes of the stream are not in it.
        """
        if self.total <= budget:
            return decode(bytes(self._head)), 0
        self.keep_in_file()
        half = budget // 2
        head, tail = bytes(self._head[:half]), bytes(self._tail[-(budget - half) :])
        head = head[: _whole_end(head)]
        tail = tail[_whole_start(tail) :]
        left_out = self.total - len(head) - len(tail)
        return (
            f"{decode(head)}\n[... {left_out} bytes left out{self._where()} ...]\n{decode(tail)}",
            left_out,
        )

    def close(self) -> None:
        """Let go of the file and the memory."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            # Nothing may come after, but a late `keep_in_file` must not truncate what is there.
            self._failure = "closed"
        self._head, self._tail = bytearray(), bytearray()

    def _where(self) -> str:
        if self._failure is not None:
            return f"; the full output could not be kept: {self._failure}"
        if self.total > FILE_BYTES:
            return f"; the first {FILE_BYTES} bytes are in {self.path}"
        return f"; the full output is in {self.path}"

    def _write(self, data: bytes) -> None:
        assert self._fd is not None
        data = data[: max(0, FILE_BYTES - self._written)]
        try:
            while data:
                count = os.write(self._fd, data)
                self._written += count
                data = data[count:]
        except OSError as error:
            os.close(self._fd)
            self._fd = None
            self._failure = error.strerror or str(error)


def decode(data: bytes) -> str:
    """Text of bytes; U+FFFD for what is not UTF-8, and for NUL, which databases refuse."""
    return data.decode("utf-8", "replace").replace("\0", "\ufffd")


def make_room(directory: str) -> None:
    """Remove the oldest files of full output until one more fits within the bound."""
    entries = sorted(
        (status.st_mtime, status.st_size, entry.path)
        for entry in os.scandir(directory)
        if entry.is_file(follow_symlinks=False)
        for status in (entry.stat(follow_symlinks=False),)
    )
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= DIRECTORY_BYTES - FILE_BYTES:
            return
        os.unlink(path)
        total -= size


def _whole_end(data: bytes) -> int:
    """Where to cut so that no UTF-8 character is split at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
    return len(data)


def _whole_start(data: bytes) -> int:
    """Where to cut so that no UTF-8 character is split at the start."""
    start = 0
    while start < min(3, len(data)) and 0x80 <= data[start] < 0xC0:
        start += 1
    return start
