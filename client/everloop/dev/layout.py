"""Where `everloop dev` keeps what: the data directory."""

from dataclasses import dataclass
from pathlib import Path

#: Owner only: the database, transcripts and session volumes are in there.
PRIVATE = 0o700


@dataclass(frozen=True)
class DataDir:
    """The paths under one data directory.

    Attributes:
        root: the directory itself, absolute.
    """

    root: Path

    @classmethod
    def at(cls, path: Path) -> "DataDir":
        """The data directory at `path`, which may be relative and need not exist."""
        return cls(path.absolute())

    @property
    def state(self) -> Path:
        """`dev.json`: addresses, ports, pids and states."""
        return self.root / "dev.json"

    @property
    def lock(self) -> Path:
        """The file whose lock a running supervisor holds; it contains the supervisor's pid."""
        return self.root / "run" / "dev.lock"

    @property
    def temporal_db(self) -> Path:
        """The Temporal dev server's database."""
        return self.root / "temporal.db"

    def ready_file(self, process: str) -> Path:
        """Where a process without a port writes `{"pid": ...}` once it polls for work."""
        return self.root / "run" / f"{process}.json"

    @property
    def isolation(self) -> Path:
        """What isolates the environments of this machine, as the sandbox host found."""
        return self.root / "run" / "isolation.json"

    def log(self, process: str) -> Path:
        """The log of a process."""
        return self.root / "logs" / f"{process}.log"

    def create(self) -> None:
        """Make the directories that are missing.

        Raises:
            OSError: a directory cannot be made.
        """
        for directory in (self.root, self.root / "run", self.root / "logs"):
            directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
