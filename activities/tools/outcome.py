"""What a tool in the sandbox leaves for the model."""

from dataclasses import dataclass
from typing import Any

from contracts.environment import EnvironmentSpec
from contracts.messages import ToolStatus
from environments.environment import Environment

_RESTARTED = (
    "The environment was restarted since it was last used. Files under {mount} are kept; processes "
    "and everything else are gone."
)
_EXPIRED = (
    "The files of this session were removed because it was unused for long; {mount} is empty."
)
_RESTORED = (
    "The files under {mount} were put back to an earlier snapshot since the environment was last "
    "used; what was changed after it is gone, and so are processes and everything else."
)
_FORKED = (
    "This session was forked from another: the files under {mount} are a copy; processes and "
    "everything else of the other session's environment are not here."
)
_FILES_LOST = (
    "The machine that had this session's environment died with its files: {mount} was begun anew "
    "and is empty; processes and everything else are gone too."
)


@dataclass(frozen=True)
class Outcome:
    """The result of a call, as the model reads it."""

    status: ToolStatus
    text: str


@dataclass(frozen=True)
class SandboxCall:
    """A call, and the environment that it runs in.

    Attributes:
        id: the tool-call id, under which agentd runs it once.
        arguments: the model's own.
        environment: the session's.
        spec: how that environment was asked for.
    """

    id: str
    arguments: dict[str, Any]
    environment: Environment
    spec: EnvironmentSpec


def session_notes(call: SandboxCall) -> list[str]:
    """What a model is told of its environment beside a call's own result, once for each event."""
    notes: list[str] = []
    if call.environment.full_note is not None:
        notes.append(call.environment.full_note)
    if call.environment.files_lost_with is not None:
        notes.append(files_lost(call.spec.mount))
    elif call.environment.forked:
        notes.append(_FORKED.format(mount=call.spec.mount))
    elif call.environment.restored:
        notes.append(_RESTORED.format(mount=call.spec.mount))
    elif call.environment.expired:
        notes.append(_EXPIRED.format(mount=call.spec.mount))
    elif call.environment.restarted:
        notes.append(_RESTARTED.format(mount=call.spec.mount))
    return notes


def files_lost(mount: str) -> str:
    """What a model is told once when a session went on without its files."""
    return _FILES_LOST.format(mount=mount)
