"""What a harness fixes beyond AWS's definition of one.

AWS's service model has no member for these. They are versioned with the harness, set through
`/everloop/v1/harnesses/{harnessId}/extensions` or the `x-everloop-extensions` header of
CreateHarness and UpdateHarness, and kept by an update that does not name them.
"""

from typing import Annotated

from pydantic import Field, field_validator

from contracts.agents import MAX_AGENTS, Agent
from contracts.approvals import Approvals
from contracts.base import WireValue
from contracts.budget import Budget
from contracts.egress import Egress
from contracts.snapshot_rules import SnapshotRules


class HarnessExtensions(WireValue):
    """Everloop's own members of a harness; the default of each is AWS's behaviour."""

    approvals: Approvals | None = None
    #: What commands may reach of the network; nothing when it is absent.
    egress: Egress | None = None
    #: Other harnesses that the model may call as tools.
    agents: Annotated[tuple[Agent, ...], Field(max_length=MAX_AGENTS)] | None = None
    #: What model calls may use; without limits when it is absent.
    budget: Budget | None = None
    #: Before which calls a snapshot of the session's files is made; before none when it is absent.
    snapshots: SnapshotRules | None = None

    @field_validator("agents")
    @classmethod
    def _named_apart(cls, agents: tuple[Agent, ...] | None) -> tuple[Agent, ...] | None:
        names = [agent.name for agent in agents or ()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two agents are named {twice}")
        return agents
