"""What an environment is: the values that the store, the sandbox host and the tools share.

agentd, inside the sandbox, imports nothing of ours: its protocol is JSON lines, described in
`environments/agentd.py`.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from contracts.egress import Egress


class EnvironmentState(StrEnum):
    """Whether an environment runs; `stopped` keeps its files."""

    RUNNING = "running"
    STOPPED = "stopped"
    #: Stopped, and so long unused that its files were removed.
    EXPIRED = "expired"
    #: Stopped, and its files were put back to a snapshot since.
    RESTORED = "restored"
    #: Stopped, and its files are on another machine, which died: `reference["host"]` names it.
    FILES_LOST = "files_lost"
    #: Never ran, and begins with a copy of another session's files: `reference["staged"]` names it.
    FORKED = "forked"


@dataclass(frozen=True)
class EnvironmentLimits:
    """What one environment may use. Bytes and seconds, whole numbers."""

    memory_bytes: int = 2 * 1024**3
    processes: int = 256
    #: Of one core; only control groups can bound it.
    cpu_percent: int = 200
    open_files: int = 1024
    file_bytes: int = 1024**3
    tmp_bytes: int = 128 * 1024**2
    #: The session's volume.
    disk_bytes: int = 4 * 1024**3
    #: Head plus tail of a command's output that its result carries; the rest is in a file.
    output_bytes: int = 32 * 1024


@dataclass(frozen=True)
class SharedMount:
    """A shared directory inside an environment: an access point, and where it is seen."""

    access_point_arn: str
    path: str


@dataclass(frozen=True)
class EnvironmentSpec:
    """What a session asks of its environment.

    Attributes:
        mount: where the session's volume is seen inside, `/mnt/<name>`.
        image: the container image it runs; None for the provider's own, which for a bubblewrap
            sandbox is the machine's programs.
        variables: the environment variables of commands, beside PATH, HOME, LANG and TMPDIR.
        idle_timeout_s: seconds without a call before it is stopped; its files stay.
        max_lifetime_s: seconds after its start when it is stopped; its files stay.
        limits: what it may use.
        shares: shared directories that it sees beside its volume.
        subnets: those of its harness, which name private networks that it may reach.
        egress: what of the network it may reach; nothing when None.
    """

    mount: str = "/mnt/session"
    image: str | None = None
    variables: dict[str, str] = field(default_factory=dict[str, str])
    idle_timeout_s: int = 900
    max_lifetime_s: int = 28800
    limits: EnvironmentLimits = EnvironmentLimits()
    shares: tuple[SharedMount, ...] = ()
    subnets: tuple[str, ...] = ()
    egress: Egress | None = None


@dataclass(frozen=True)
class EnvironmentRecord:
    """An environment as the store knows it, enough to find it again after its host restarted.

    `boot_id` changes whenever agentd starts anew; what ran under another boot id has ended.
    `reference` is the provider's own (for bubblewrap: pid, start time, socket name).
    """

    session: str
    provider: str
    host: str
    generation: int
    boot_id: str
    state: EnvironmentState
    reference: dict[str, str | int]


@dataclass(frozen=True)
class HostVolumes:
    """What a sandbox host tells others of its sessions' files.

    Attributes:
        id: of the volumes that it shares with every host which tells the same; None when its
            volumes are its own.
        may_lose_files: whether it goes on with sessions of dead hosts whose files it does not have.
    """

    id: str | None = None
    may_lose_files: bool = False


class CommandEnd(StrEnum):
    """Why a command ended."""

    EXITED = "exited"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    #: The session's volume grew beyond its limit.
    OUT_OF_DISK = "out_of_disk"
    #: The environment ended under it; whether it had an effect is unknown.
    LOST = "lost"


@dataclass(frozen=True)
class CommandResult:
    """What came of a command.

    Attributes:
        end: why it ended.
        exit_code: its exit status; 128 + signal when a signal ended it; None when lost.
        stdout: head and tail of what it wrote, with a line saying what was left out between.
        stderr: likewise.
        left_out_bytes: how much of both is not in `stdout` and `stderr`.
        output_file: where inside the environment the full output is, when some was left out or more
            may come from the background.
        background: whether processes that it started still ran when it ended.
    """

    end: CommandEnd
    exit_code: int | None
    stdout: str = ""
    stderr: str = ""
    left_out_bytes: int = 0
    output_file: str | None = None
    background: bool = False


@dataclass(frozen=True)
class OutputPiece:
    """Output of a command that is followed.

    Attributes:
        stdout_at: the offset of `stdout` in all that the command wrote there; past the offset that
            was asked for when bytes between are left out.
        stdout: bytes, which may end within a character.
        stderr_at: likewise.
        stderr: likewise.
        ended: whether the command has ended and all of its output has been told.
    """

    stdout_at: int
    stdout: bytes
    stderr_at: int
    stderr: bytes
    ended: bool
