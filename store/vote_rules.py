"""Which votes count: pure rules over a decision, its votes and a new one."""

from collections.abc import Sequence
from typing import Any

from contracts.approvals import MAX_REQUIRED, Approvals, Terms, judge
from contracts.decisions import (
    MAX_VOTES,
    DecisionRecord,
    DecisionStatus,
    Gate,
    NewVote,
    Principal,
    VerdictKind,
    VoteState,
)
from contracts.errors import AwsError, ServiceError, invalid
from contracts.tools import Repeat, ToolKind, ToolSpec
from store.decision_rows import told
from store.schema_faults import schema_faults


def check_vote(decision: DecisionRecord, vote: NewVote, who: Principal) -> None:
    """See whether a vote can count.

    Args:
        decision: as it stands, with its votes.
        vote: what is said.
        who: says it.

    Raises:
        ServiceError: AccessDeniedException for somebody else's decision; ConflictException when it
            is closed, when its arguments are no longer those that the decider saw, or when they
            have agreed already; ValidationException when the vote does not fit the call.
    """
    if decision.status is not DecisionStatus.OPEN:
        raise ServiceError(
            AwsError.CONFLICT, f"{decision.tool_use_id} ({decision.tool}) {told(decision)}."
        )
    terms = decision.gate.terms
    if not terms.deciders.include(who.user, who.roles):
        raise _not_theirs(who, terms)
    if vote.digest != decision.digest:
        raise ServiceError(
            AwsError.CONFLICT,
            f"The arguments of {decision.tool_use_id} ({decision.tool}) are no longer those that "
            f"were decided about; their digest is {decision.digest}. Look at them again.",
        )
    _check_shape(decision, vote)
    edits = is_edit(decision, vote)
    if vote.kind is VerdictKind.APPROVE and not edits and who.user in agreed(decision):
        raise ServiceError(AwsError.CONFLICT, f"{who.user} has agreed already.")
    if len(decision.votes) > MAX_VOTES:
        raise ServiceError(AwsError.CONFLICT, f"The decision has {MAX_VOTES} votes already.")


def is_edit(decision: DecisionRecord, vote: NewVote) -> bool:
    """Whether a vote changes the arguments."""
    return vote.arguments is not None and vote.arguments != decision.arguments


def agreed(decision: DecisionRecord) -> list[str]:
    """Who has agreed to the arguments as they are now, each once."""
    return list(
        dict.fromkeys(
            each.decider
            for each in decision.votes
            if each.state is VoteState.COUNTED
            and each.vote.kind is VerdictKind.APPROVE
            and each.revision == decision.revision
        )
    )


def gate_of_edit(
    decision: DecisionRecord, approvals: Approvals | None, arguments: dict[str, Any], who: Principal
) -> Gate:
    """Who decides about edited arguments: the rules judge them as if the model had asked.

    Nobody gets past a rule by editing: where another rule asks about the new arguments, the editor
    must be one of its deciders too, its deciders decide from now on, and as many must agree as the
    stricter of the two rules says.

    Raises:
        ServiceError: ValidationException when a rule denies the call; AccessDeniedException.
    """
    gate = decision.gate
    if decision.kind is ToolKind.BUDGET:
        return gate
    spec = ToolSpec(
        name=decision.tool,
        description="",
        kind=decision.kind or ToolKind.SANDBOX,
        namespace=gate.namespace,
        repeat=Repeat.ONCE,
        destructive=gate.destructive,
    )
    judgement = judge(approvals, spec, arguments)
    if judgement.action == "deny":
        raise invalid("arguments", f"such a call never runs ({judgement.why})")
    rule = rule_label(judgement.rule, judgement.name)
    if judgement.terms is None or rule == gate.rule:
        return gate
    terms = judgement.terms
    if not terms.deciders.include(who.user, who.roles):
        raise _not_theirs(who, terms)
    required = max(terms.required, gate.terms.required)
    if required > _most(terms):
        raise invalid("arguments", f"{required} must agree, more than {rule} names as deciders")
    return gate.model_copy(
        update={"terms": terms.model_copy(update={"required": required}), "rule": rule}
    )


def rule_label(index: int | None, name: str | None) -> str | None:
    """What a rule is called where only one text is kept."""
    return name or (None if index is None else f"rule {index}")


def _check_shape(decision: DecisionRecord, vote: NewVote) -> None:
    runs_here = decision.runs_here
    if (vote.answer is not None) != (vote.kind is VerdictKind.ANSWER):
        raise invalid("answer", "goes with decision answer, and only with it")
    if vote.kind is VerdictKind.ANSWER and runs_here:
        raise invalid("decision", f"Everloop runs {decision.tool} itself: approve or reject")
    if vote.kind is VerdictKind.ANSWER and decision.gate.terms.required > 1:
        raise invalid(
            "decision", f"{decision.gate.terms.required} people must agree: approve or reject"
        )
    if vote.arguments is None:
        return
    if vote.kind is not VerdictKind.APPROVE:
        raise invalid("arguments", "go with decision approve, and only with it")
    if not runs_here:
        raise invalid(
            "arguments", f"{decision.tool} is an inline function, so nothing runs: answer"
        )
    faults = schema_faults(decision.gate.parameters or {}, vote.arguments)
    if faults:
        raise invalid("arguments", f"do not fit the schema of {decision.tool}: {'; '.join(faults)}")


def _not_theirs(who: Principal, terms: Terms) -> ServiceError:
    return ServiceError(
        AwsError.ACCESS_DENIED, f"{who.user} may not decide about this call; {terms.deciders} may."
    )


def _most(terms: Terms) -> int:
    named: Sequence[str] = terms.deciders.users
    return MAX_REQUIRED if terms.deciders.roles or not named else len(set(named))
