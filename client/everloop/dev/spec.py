"""What the supervisor knows of a process before it starts it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Asked with the process id until it says True; each answer must come soon.
Probe = Callable[[int], Awaitable[bool]]


@dataclass(frozen=True)
class Timing:
    """How patient the supervisor is. Seconds.

    Attributes:
        ready_s: from the start of a process until it must be ready.
        poll_s: between two questions whether it is.
        backoff_s: before the first restart after a death; doubled with each further one.
        backoff_max_s: the longest wait before a restart.
        healthy_s: a process ready for so long starts again with the shortest wait.
        first_starts: how many deaths before it has ever been ready make the start a failure.
        kill_s: after SIGKILL until the supervisor gives the process up.
    """

    ready_s: float = 60.0
    poll_s: float = 0.03
    backoff_s: float = 0.2
    backoff_max_s: float = 10.0
    healthy_s: float = 30.0
    first_starts: int = 3
    kill_s: float = 5.0


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running.

    Attributes:
        name: what it is called in messages, states and file names.
        argv: the program, by absolute path, and its arguments.
        env: its whole environment.
        log: the file that its output is appended to.
        ready: the probe that tells when it serves.
        after: names of the processes and tasks that must be ready, or done, before it is started.
        address: where it listens, for people.
        stop_s: seconds between SIGTERM and SIGKILL.
        ready_file: removed before each start, so that it never speaks of an earlier process.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    ready: Probe
    after: tuple[str, ...] = ()
    address: str | None = None
    stop_s: float = 5.0
    ready_file: Path | None = None


@dataclass(frozen=True)
class TaskSpec:
    """A program that must end well before what names it in `after` is started.

    Attributes:
        name: what it is called.
        argv: the program, by absolute path, and its arguments.
        env: its whole environment.
        log: the file that its output is appended to.
        after: names of what must be ready, or done, before.
        limit_s: seconds that it may take.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    after: tuple[str, ...] = field(default_factory=tuple)
    limit_s: float = 60.0
