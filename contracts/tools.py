"""What a tool is to the loop: its face to the model, its kind, and how it may be repeated."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: The tool by which a model gives a structured result.
OUTPUT_TOOL = "structured_output"

#: The namespace of `shell` and `file_operations` in `allowedTools`.
BUILTIN = "builtin"
BUILTIN_NAMES = ("shell", "file_operations")


class ToolKind(StrEnum):
    """Who runs a tool."""

    #: Run by agentd in the session's environment.
    SANDBOX = "sandbox"
    #: Handed to the caller, whose answer resumes the turn.
    INLINE = "inline"
    #: Run as another harness, by a workflow of its own.
    AGENT = "agent"
    #: Not run at all: calling it with arguments that fit gives the invocation's structured result.
    OUTPUT = "output"
    #: No tool at all: a turn that met its budget waits for more, under a decision of this kind.
    BUDGET = "budget"


class Repeat(StrEnum):
    """What a retry of a call may do."""

    #: Run it again freely.
    IDEMPOTENT = "idempotent"
    #: Run it again with the call id as key: the runner returns the first outcome.
    KEYED = "keyed"
    #: Never run it again: an intent without an outcome is reported as unknown.
    ONCE = "once"


@dataclass(frozen=True)
class ToolSpec:
    """A tool that an invocation offers to the model.

    Attributes:
        name: what the model calls it, `[a-zA-Z0-9_-]{1,64}`.
        description: what the model reads.
        schema: JSON schema of its arguments.
        kind: who runs it.
        namespace: the first half of its pair in the `allowedTools` grammar.
        repeat: what a retry may do.
        destructive: whether the tool declares that it may destroy; such calls ask unless a rule of
            the harness says otherwise.
    """

    name: str
    description: str
    kind: ToolKind
    namespace: str
    repeat: Repeat
    schema: dict[str, Any] = field(default_factory=dict[str, Any])
    destructive: bool = False


class CallState(StrEnum):
    """The life of a tool call, as the store keeps it."""

    #: Asked for by the model, not yet begun.
    REQUESTED = "requested"
    #: Sent to its runner, under the boot id kept with it.
    STARTED = "started"
    #: Waits for the caller.
    WAITING = "waiting"
    #: Has an outcome.
    DONE = "done"
