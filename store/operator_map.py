"""The operator's map, read from its file again whenever that has changed."""

import os
from pathlib import Path

from contracts.operator_map import OperatorMap


class MapSource:
    """The map of one installation; empty where no file is configured."""

    def __init__(self, path: Path | None) -> None:
        """Args: `path` is the file, or None."""
        self._path = path
        self._read: tuple[tuple[int, int, int], OperatorMap] | None = None

    def read(self) -> OperatorMap:
        """The map as it is now.

        Raises:
            ValueError: the file is no such map; the message says where.
            OSError: it cannot be read.
        """
        if self._path is None:
            return OperatorMap()
        found = os.stat(self._path)
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._read is None or self._read[0] != mark:
            self._read = (mark, OperatorMap.read(self._path.read_bytes(), str(self._path)))
        return self._read[1]
