"""Approval rules: which tool calls run, which wait for a person, and which never run.

Rules stand in an order; the first one that selects a call decides about it. A rule selects by the
tool, in the grammar of `allowedTools`, and by conditions on the arguments, all of which must hold.
Where no rule selects, a tool that declares itself destructive asks and everything else is allowed.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from contracts.allowed_tools import is_allowed
from contracts.base import WireValue
from contracts.conditions import Condition
from contracts.tools import ToolSpec

#: A policy that nobody can read through protects nobody.
MAX_RULES = 100
MAX_CONDITIONS = 20
#: Names of people and roles in one rule.
MAX_DECIDERS = 50
MAX_REQUIRED = 20
#: A year: longer waits are not deadlines.
MAX_DEADLINE_S = 366 * 86400

#: AWS's grammar of an `allowedTools` pattern.
ToolPattern = Annotated[str, Field(pattern=r"^(\*|@?[^/]+(/[^/]+)?)$", min_length=1, max_length=64)]
#: A user or a role: what an access key, a token or a header calls it.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=:-]{0,127}")
Who = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Names = Annotated[tuple[Who, ...], Field(max_length=MAX_DECIDERS)]
Deadline = Annotated[int, Field(ge=1, le=MAX_DEADLINE_S)]


class Deciders(WireValue):
    """Who may decide: any of the users, and whoever has any of the roles.

    With neither, everybody who may call the API.
    """

    users: Names = ()
    roles: Names = ()

    @property
    def anybody(self) -> bool:
        """Whether it names nobody in particular."""
        return not self.users and not self.roles

    def include(self, user: str, roles: Sequence[str]) -> bool:
        """Whether somebody is one of them."""
        return self.anybody or user in self.users or not set(roles).isdisjoint(self.roles)

    def __str__(self) -> str:
        """For people: `ada, bob or role finance`."""
        named = [*self.users, *(f"role {role}" for role in self.roles)]
        if not named:
            return "anybody"
        return " or ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


class Escalation(WireValue):
    """Who decides once the first deadline has passed, and what happens at the second."""

    deciders: Deciders
    deadline_seconds: Deadline | None = None
    on_timeout: Literal["reject", "approve"] = "reject"

    @model_validator(mode="after")
    def _names_somebody(self) -> "Escalation":
        if self.deciders.anybody:
            raise ValueError("deciders must name a user or a role")
        if self.on_timeout == "approve" and self.deadline_seconds is None:
            raise ValueError("onTimeout approve needs deadlineSeconds")
        return self


class Terms(WireValue):
    """How a decision is taken.

    Attributes:
        deciders: who may take part.
        required: how many different people must agree; one rejection is enough to reject.
        deadline_seconds: how long it may take; for ever when absent.
        on_timeout: what the deadline does.
        escalate_to: for `escalate`.
    """

    deciders: Deciders = Deciders()
    required: Annotated[int, Field(ge=1, le=MAX_REQUIRED)] = 1
    deadline_seconds: Deadline | None = None
    on_timeout: Literal["reject", "approve", "escalate"] = "reject"
    escalate_to: Escalation | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Terms":
        if (self.on_timeout == "escalate") != (self.escalate_to is not None):
            raise ValueError("escalateTo goes with onTimeout escalate, and only with it")
        if self.on_timeout != "reject" and self.deadline_seconds is None:
            raise ValueError(f"onTimeout {self.on_timeout} needs deadlineSeconds")
        if self.required > _heads(self.deciders):
            raise ValueError("required is more than the users that are named")
        if self.escalate_to and self.required > _heads(self.escalate_to.deciders):
            raise ValueError("required is more than the users that escalateTo names")
        return self


class ApprovalRule(Terms):
    """One rule.

    Attributes:
        name: for people; shown with every decision that it opens.
        tools: patterns, any of which selects a tool.
        when: conditions on the arguments, all of which must hold.
        action: `ask` opens a decision, `deny` answers the model with an error.
    """

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tools: Annotated[tuple[ToolPattern, ...], Field(min_length=1, max_length=128)]
    when: Annotated[tuple[Condition, ...], Field(max_length=MAX_CONDITIONS)] = ()
    action: Literal["ask", "allow", "deny"]

    @model_validator(mode="after")
    def _terms_go_with_ask(self) -> "ApprovalRule":
        # A stored rule has every member, those that were not given with their defaults.
        given = [
            name
            for name, field in Terms.model_fields.items()
            if getattr(self, name) != field.get_default()
        ]
        if self.action != "ask" and given:
            raise ValueError(f"only a rule with action ask has {', '.join(map(to_camel, given))}")
        return self

    @property
    def terms(self) -> Terms:
        """How a decision that it opens is taken."""
        return Terms.model_construct(**{name: getattr(self, name) for name in Terms.model_fields})


class Approvals(WireValue):
    """The approval rules of a harness, in their order."""

    rules: Annotated[tuple[ApprovalRule, ...], Field(max_length=MAX_RULES)] = ()


class RuleTrace(WireValue):
    """Whether a rule selects a call, and why."""

    index: int
    name: str | None
    selects: bool
    why: str


class Judgement(WireValue):
    """What the rules say about a call.

    Attributes:
        action: what becomes of it.
        rule: the index of the rule that decided; None when none did.
        name: that rule's name.
        why: for people.
        terms: for `ask`, how the decision is taken.
        trace: every rule that was looked at, in order.
    """

    action: Literal["ask", "allow", "deny"]
    rule: int | None
    name: str | None
    why: str
    terms: Terms | None
    trace: tuple[RuleTrace, ...]


def judge(approvals: Approvals | None, spec: ToolSpec, arguments: dict[str, Any]) -> Judgement:
    """Find the rule that decides about a call.

    Args:
        approvals: the harness's rules.
        spec: the tool.
        arguments: the call's arguments.
    """
    trace: list[RuleTrace] = []
    for index, rule in enumerate(approvals.rules if approvals else ()):
        against = why_not(rule.tools, rule.when, spec, arguments)
        selects = against is None
        why = against or ("every condition holds" if rule.when else "a pattern selects the tool")
        trace.append(RuleTrace(index=index, name=rule.name, selects=selects, why=why))
        if selects:
            return Judgement(
                action=rule.action,
                rule=index,
                name=rule.name,
                why=f"rule {index}{f' ({rule.name})' if rule.name else ''}: {why}",
                terms=rule.terms if rule.action == "ask" else None,
                trace=tuple(trace),
            )
    return Judgement(
        action="ask" if spec.destructive else "allow",
        rule=None,
        name=None,
        why=f"no rule selects it, and the tool {_declares(spec.destructive)}",
        terms=Terms() if spec.destructive else None,
        trace=tuple(trace),
    )


def why_not(
    tools: Sequence[str], when: Sequence[Condition], spec: ToolSpec, arguments: dict[str, Any]
) -> str | None:
    """Why patterns and conditions do not select a call; None when they do."""
    if not is_allowed(spec.namespace, spec.name, tools):
        return f"no pattern selects @{spec.namespace}/{spec.name}"
    failed = next((each for each in when if not each.holds(arguments)), None)
    return None if failed is None else f"not so: {failed}"


def _declares(destructive: bool) -> str:
    return "declares itself destructive" if destructive else "does not declare itself destructive"


def _heads(deciders: Deciders) -> int:
    """How many people it can be at most; a role, or nobody in particular, has no bound."""
    if deciders.anybody or deciders.roles:
        return MAX_REQUIRED
    return len(set(deciders.users))
