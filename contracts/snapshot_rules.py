"""Rules that say before which tool calls a snapshot of the session's files is made."""

from typing import Annotated, Any

from pydantic import Field

from contracts.approvals import MAX_CONDITIONS, ToolPattern, why_not
from contracts.base import WireValue
from contracts.conditions import Condition
from contracts.tools import ToolSpec

MAX_RULES = 20
#: Snapshots that rules made and that are kept, of one session.
MAX_KEPT = 16


class SnapshotRule(WireValue):
    """Which calls a snapshot is made before, in the grammar of approval rules.

    Attributes:
        name: for people; the label of its snapshots.
        tools: patterns, any of which selects a tool.
        when: conditions on the arguments, all of which must hold.
    """

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tools: Annotated[tuple[ToolPattern, ...], Field(min_length=1, max_length=128)]
    when: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()


class SnapshotRules(WireValue):
    """When the sandbox host makes snapshots by itself.

    Attributes:
        before: rules; the first that selects a call names its snapshot.
        keep: how many that rules made are kept; the oldest go first.
    """

    before: Annotated[tuple[SnapshotRule, ...], Field(min_length=1, max_length=MAX_RULES)]
    keep: Annotated[int, Field(ge=1, le=MAX_KEPT)] = 4

    def selecting(self, spec: ToolSpec, arguments: dict[str, Any]) -> SnapshotRule | None:
        """The rule that asks for a snapshot before a call; None when none does."""
        for rule in self.before:
            if why_not(rule.tools, rule.when, spec, arguments) is None:
                return rule
        return None
