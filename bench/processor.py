"""What processes take of the machine's processors: it moves less than time when others work too."""

import os
from pathlib import Path

from tests.e2e.stack import Stack

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
#: Of `/proc/<pid>/stat`, counted behind the name: time in user mode and in the kernel.
_USER, _KERNEL = 11, 12


class Processor:
    """The processor's time of a worker and of those that work with it."""

    def __init__(self, worker: int, *others: int) -> None:
        """Look at processes by their ids."""
        self._pids = (worker, *others)
        self._start = self._now()

    @classmethod
    def of(cls, stack: Stack) -> "Processor":
        """Everloop's worker, and all its other processes."""
        pids = {each["name"]: each["pid"] for each in stack.state()["processes"]}
        return cls(pids.pop("worker"), *pids.values())

    def start(self) -> None:
        """Begin to count."""
        self._start = self._now()

    def used(self) -> tuple[float, float]:
        """Seconds since the start, of the worker and of all."""
        spent = [now - then for now, then in zip(self._now(), self._start, strict=True)]
        return spent[0], sum(spent)

    def _now(self) -> list[float]:
        return [_seconds(pid) for pid in self._pids]


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_KERNEL])) / _TICKS_PER_S
