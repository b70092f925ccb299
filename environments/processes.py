"""Processes of the host machine, named so that a reused process id is never taken for another."""

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

#: Field 22 of /proc/<pid>/stat, counted from behind the command's name, which is field 2.
_START_TIME = 22 - 3


@dataclass(frozen=True)
class ProcessName:
    """One process for all time.

    Attributes:
        pid: its id on the host.
        start_time: clock ticks between the machine's boot and its start.
        machine: the boot of the machine.
    """

    pid: int
    start_time: int
    machine: str


def machine_boot() -> str:
    """The id that this machine's kernel took when it booted."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(b")")[2].split()
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] in (b"Z", b"X") else int(fields[_START_TIME])


def alive(name: ProcessName) -> bool:
    """Whether exactly this process still runs."""
    return name.machine == machine_boot() and start_time(name.pid) == name.start_time


def kill(name: ProcessName, *, wait_s: float) -> None:
    """KILL a process and wait until it is gone; nothing happens when it is gone already.

    Blocks for `wait_s` at most: a few milliseconds for a sandbox.

    Raises:
        TimeoutError: it has not ended after `wait_s`.
    """
    try:
        pidfd = os.pidfd_open(name.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor now holds one process; only then is it safe to ask whether it is the one.
        if not alive(name):
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(wait_s * 1000):
            raise TimeoutError(f"process {name.pid} did not end within {wait_s} s of SIGKILL")
    finally:
        os.close(pidfd)


def started_at(ticks: int) -> float:
    """The time of day, in seconds since the epoch, of a start time."""
    with open("/proc/stat", "rb") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith(b"btime "))
    return boot + ticks / os.sysconf("SC_CLK_TCK")
