"""What the harness's approval rules make of a tool call that a model asks for."""

from dataclasses import dataclass
from typing import Any

from contracts.approvals import Approvals, judge
from contracts.decisions import Gate
from contracts.tools import ToolKind, ToolSpec
from store.vote_rules import rule_label


@dataclass(frozen=True)
class Passage:
    """What a call meets before it runs.

    Attributes:
        gate: what it must pass; None when it runs freely.
        failure: why it never runs, in words for the model.
    """

    gate: Gate | None = None
    failure: str | None = None


def look(approvals: Approvals | None, spec: ToolSpec, arguments: dict[str, Any]) -> Passage:
    """Apply the rules to a call.

    An inline function waits for somebody whatever the rules say; a rule that asks says for whom.
    """
    judgement = judge(approvals, spec, arguments)
    if judgement.action == "deny":
        named = f" ({judgement.name})" if judgement.name else ""
        return Passage(failure=f"Error: a rule of this harness{named} does not allow this call.")
    if judgement.terms is None:
        return Passage()
    return Passage(
        gate=Gate(
            terms=judgement.terms,
            rule=rule_label(judgement.rule, judgement.name),
            namespace=spec.namespace,
            destructive=spec.destructive,
            parameters=None if spec.kind is ToolKind.INLINE else spec.schema,
        )
    )
