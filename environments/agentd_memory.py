"""The processes of the sandbox, and the watchdog that keeps their memory within the limit.

Where control groups cannot be had, nothing else bounds memory: RLIMIT_AS counts reservations, which
Node and Deno make by the terabyte.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from environments.agentd_loop import Loop

#: Seconds between looks; a process can take about half a gigabyte in this time.
PERIOD_S = 0.1
#: Seconds given to the kernel to take back the memory of what was killed before looking again.
SETTLE_S = 0.5

#: How soon the kernel takes a command when memory is short; of 1000.
COMMAND_SCORE = b"1000"

#: The descriptor and agentd's own score.
_scores: list[tuple[int, bytes]] = []
_PAGE = resource.getpagesize()


class Process(NamedTuple):
    """A process other than the sandbox's first and agentd itself; memory in bytes."""

    pid: int
    parent: int
    group: int
    resident: int


def processes() -> list[Process]:
    """Every process of the sandbox but its first, which is bubblewrap's, and agentd."""
    found: list[Process] = []
    skip = {1, os.getpid()}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in skip:
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command's name is in parentheses and may hold anything.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            # It ended between the listing and the look.
            continue
        if fields[0] != b"Z":
            found.append(
                Process(int(name), int(fields[1]), int(fields[2]), int(fields[21]) * _PAGE)
            )
    return found


class MemoryWatchdog:
    """Kills the command that uses most when all together use more than the limit."""

    def __init__(
        self,
        loop: Loop,
        limit: int,
        *,
        leaders: Callable[[], set[int]],
        kill: Callable[[int], None],
        seen: Callable[[], None],
    ) -> None:
        """Watch nothing until `wake`.

        Args:
            loop: runs the looks.
            limit: bytes that all processes together may use.
            leaders: the process ids of running commands.
            kill: ends the command with that leader, as one that used too much.
            seen: hears that there are processes, so that the environment is not idle.
        """
        self._loop = loop
        self._limit = limit
        self._leaders = leaders
        self._kill = kill
        self._seen = seen
        self._awake = False

    def wake(self) -> None:
        """Look at intervals until no process is left."""
        if not self._awake:
            self._awake = True
            self._loop.later(PERIOD_S, self._look)

    def _look(self) -> None:
        found = processes()
        if not found:
            self._awake = False
            return
        self._seen()
        pause = PERIOD_S
        # Shared pages count once per process here; only the dearer, exact sum may condemn.
        if sum(process.resident for process in found) > self._limit:
            # Processes are read one after the other, and when one ends meanwhile, what it shared
            # counts again for those that are left: two readings must agree.
            readings = [_read_exactly() for _ in range(2)]
            if all(sum(exact.values()) > self._limit for _, exact in readings):
                self._end_greediest(*readings[-1])
                pause = SETTLE_S
        self._loop.later(pause, self._look)

    def _end_greediest(self, found: list[Process], exact: dict[int, int]) -> None:
        by_pid = {process.pid: process for process in found}
        leaders = self._leaders()
        usage: dict[int, int] = {}
        for process in found:
            owner = _owner(process, by_pid, leaders)
            usage[owner] = usage.get(owner, 0) + exact[process.pid]
        greediest = max(usage, key=lambda owner: usage[owner])
        for process in found:
            if _owner(process, by_pid, leaders) == greediest:
                _kill_process(process.pid)
        if greediest in leaders:
            self._kill(greediest)


def _owner(process: Process, by_pid: dict[int, Process], leaders: set[int]) -> int:
    """The running command that a process descends from or is grouped with, else its group."""
    seen: Process | None = process
    # A process can be at most this deep below its command.
    for _ in range(len(by_pid)):
        if seen is None:
            break
        if seen.pid in leaders:
            return seen.pid
        seen = by_pid.get(seen.parent)
    return process.group


def _read_exactly() -> tuple[list[Process], dict[int, int]]:
    found = processes()
    return found, {process.pid: _proportional(process) for process in found}


def _proportional(process: Process) -> int:
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except OSError:
        # It hides its memory: then what it shares counts in full.
        pass
    return process.resident


def take_last() -> None:
    """Take the lowest score there is here: a command can lower its own so far, and no further.

    Must come before this process hides itself from its equals: its own file is then hidden too, and
    only the open descriptor is left.
    """
    fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
    with contextlib.suppress(PermissionError):
        # Refused where the host has set a higher floor, which we were started with.
        os.pwrite(fd, b"0", 0)
    _scores.append((fd, os.pread(fd, 16, 0).strip()))


@contextlib.contextmanager
def taken_first() -> Generator[None, None, None]:
    """What is forked meanwhile goes before agentd when a control group is out of memory."""
    for fd, _ in _scores:
        os.pwrite(fd, COMMAND_SCORE, 0)
    try:
        yield
    finally:
        for fd, own in _scores:
            os.pwrite(fd, own, 0)


def _kill_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def end_all(loop: Loop, grace_s: float, done: Callable[[], None]) -> None:
    """Ask every process to end, and call `done` when all have or `grace_s` has passed."""
    deadline = time.monotonic() + grace_s
    with contextlib.suppress(ProcessLookupError):
        # Every process but the sandbox's first and this one.
        os.kill(-1, signal.SIGTERM)

    def look() -> None:
        if processes() and time.monotonic() < deadline:
            loop.later(0.02, look)
        else:
            done()

    # Not at once: the answer to whoever asked for this must leave first.
    loop.later(0.005, look)
