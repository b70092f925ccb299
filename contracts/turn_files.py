"""The files that a turn left: what came, changed and went while its tool calls ran."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

#: Files that the list of one invocation names; all are counted.
LISTED_MAX = 1000


class FileChangeKind(StrEnum):
    """What became of a file."""

    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True)
class FileChange:
    """One file that is not as it was when the turn began.

    Attributes:
        path: below the session's volume; U+FFFD stands for what is not UTF-8.
        change: what became of it.
        bytes: its size; None when it was removed.
        modified_at: UTC; None when it was removed.
        sha256: of its bytes, in hexadecimal; None for one that is large, changes, or was removed.
    """

    path: str
    change: FileChangeKind
    bytes: int | None = None
    modified_at: datetime | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class TurnFiles:
    """What an invocation's tool calls did to its session's files.

    Attributes:
        settled: whether its end was looked at; until then the list is of what its calls did so far.
        created: how many files came.
        changed: how many are others than before, by size, times or inode.
        removed: how many went.
        incomplete: why the list or the numbers do not tell everything; None when they do.
        files: by path, at most `LISTED_MAX`.
    """

    settled: bool = False
    created: int = 0
    changed: int = 0
    removed: int = 0
    incomplete: str | None = None
    files: tuple[FileChange, ...] = field(default_factory=tuple)
