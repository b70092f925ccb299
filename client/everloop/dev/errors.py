"""What can go wrong before or while the processes are started."""


class DevError(Exception):
    """`everloop dev` cannot go on; the message says why and what to do, for a person."""


class AlreadyRunning(DevError):
    """Another supervisor runs on the same data directory."""

    def __init__(self, root: str, pid: int | None) -> None:
        """Name the directory and, when it is known, the supervisor's process id."""
        who = f" (pid {pid})" if pid else ""
        super().__init__(
            f"everloop dev already runs on {root}{who}; stop it first or choose another --data-dir"
        )
        self.pid = pid
