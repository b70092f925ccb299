"""What a tool in the sandbox leaves for the model."""

from dataclasses import dataclass
from typing import Any

from contracts.environment import EnvironmentSpec
from contracts.messages import ToolStatus
from environments.environment import Environment


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
