"""A command that somebody runs in a session's environment, beside its turns and without a model.

As `InvokeAgentRuntimeCommand` has it: a key under which it runs at most once, a bash command, a
time-out; what it wrote and how it ended.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from contracts.environment import CommandResult

#: `timeout` of InvokeAgentRuntimeCommand, as its service model documents it.
DEFAULT_TIMEOUT_S = 300
MIN_TIMEOUT_S = 1
MAX_TIMEOUT_S = 3600


class CommandState(StrEnum):
    """The life of a command, as the store keeps it."""

    #: Asked for, not sent to an environment.
    NEW = "new"
    #: Sent to the environment whose boot id is kept with it, or about to be.
    STARTED = "started"
    #: Has a result.
    DONE = "done"


@dataclass(frozen=True)
class NewCommand:
    """A command as its caller gave it.

    Attributes:
        id: the caller's key, `contracts.ids.INVOCATION_ID`.
        command: for `bash -c`.
        timeout_s: seconds until it is ended.
        request_digest: tells whether a repetition asks for the same.
        config_digest: names the `RunConfig` whose environment it runs in.
    """

    id: str
    command: str
    timeout_s: int
    request_digest: str
    config_digest: str


@dataclass(frozen=True)
class CommandRecord:
    """A command as the store knows it.

    Attributes:
        session: the session's key.
        id: the caller's key, unique in the session.
        command: for `bash -c`.
        timeout_s: seconds until it is ended.
        config_digest: names the `RunConfig` whose environment it runs in.
        state: where it stands.
        boot_id: the environment's boot under which it was started.
        result: what came of it; its output is cut as a tool call's is.
    """

    session: str
    id: str
    command: str
    timeout_s: int
    config_digest: str
    state: CommandState
    boot_id: str | None
    result: CommandResult | None


@dataclass(frozen=True)
class HostAddress:
    """Where a sandbox host is reached.

    Attributes:
        host: its name.
        url: the base of its endpoint, without a slash at its end.
        secret: what its callers show; new at each of its starts.
        alive: whether its lease runs.
    """

    host: str
    url: str
    secret: str = field(repr=False)
    alive: bool = True


@dataclass(frozen=True)
class StopRecord:
    """A request to stop a session, as it was first received.

    Attributes:
        session: the session's key.
        token: the caller's `clientToken`.
        generation: of the environment that ran or was recorded then, the only one it may end; None
            when the session had none.
        invocation_id: the invocation whose turn ran then.
        done: whether it was carried out.
    """

    session: str
    token: str
    generation: int | None
    invocation_id: str | None
    done: bool
