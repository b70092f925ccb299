"""`dev.json`: what a running supervisor tells other commands, and remembers for its next start."""

import os
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everloop.dev.errors import DevError
from everloop.dev.layout import DataDir
from everloop.dev.lock import is_held


class Phase(StrEnum):
    """Where the supervisor, or one process of its, is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class ProcessState(BaseModel):
    """One process, as `everloop status` shows it.

    Attributes:
        name: `temporal`, `demo-model`, `sandbox-host`, `worker` or `api`.
        pid: its process id while it runs.
        phase: where it is in its life.
        restarts: how often it was started again after it had died.
        address: where it listens; None when it does not.
        log: the path of its log.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int | None = None
    phase: Phase = Phase.WAITING
    restarts: int = 0
    address: str | None = None
    log: str


class DevState(BaseModel):
    """The whole of `dev.json`.

    Attributes:
        pid: the supervisor's process id; None once it has stopped.
        phase: where the supervisor is in its life.
        region: the region in ARNs.
        ports: port by listener name, see `ports.DEFAULTS`; the next start prefers them.
        addresses: address by listener name: URLs, and host:port for `temporal`.
        processes: every process, in the order of starting.
    """

    model_config = ConfigDict(frozen=True)

    pid: int | None = None
    phase: Phase = Phase.STARTING
    region: str = "us-east-1"
    ports: dict[str, int] = Field(default_factory=dict[str, int])
    addresses: dict[str, str] = Field(default_factory=dict[str, str])
    processes: tuple[ProcessState, ...] = ()

    def process(self, name: str) -> ProcessState | None:
        """The process of that name."""
        return next((one for one in self.processes if one.name == name), None)


def save(data: DataDir, state: DevState) -> None:
    """Write `dev.json` so that a reader sees either the old or the new one, whole."""
    fresh = data.state.with_suffix(".json.new")
    fresh.write_text(state.model_dump_json(indent=2) + "\n")
    os.replace(fresh, data.state)


def load(data: DataDir) -> DevState | None:
    """What `dev.json` says, whether or not its writer still runs; None without one.

    Raises:
        DevError: the file is not one of ours.
    """
    try:
        text = data.state.read_text()
    except FileNotFoundError:
        return None
    try:
        return DevState.model_validate_json(text)
    except ValidationError as error:
        raise DevError(
            f"{data.state} cannot be read ({error.error_count()} faults); remove it and start again"
        ) from error


def running(data: DataDir) -> DevState | None:
    """What `dev.json` says if its supervisor runs now, else None.

    Raises:
        DevError: the file is not one of ours.
    """
    return load(data) if is_held(data) else None
