"""Decisions: what a tool call waits for when a person must act, and what people said.

A decision is about one call: its tool and its effective arguments, named by their digest. A vote
binds to the digest that its decider saw. It is written down first and counted by the session's
workflow, so that nothing that people write enters workflow history.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from contracts.approvals import Terms
from contracts.base import Value
from contracts.errors import ErrorDetail
from contracts.tools import ToolKind
from contracts.turn import TurnRequest

UPDATE_DECIDE = "decide"

#: Search attributes of a parked session, both lists of keywords: `user:NAME`, `role:NAME` or
#: `anybody` for each who may decide about a waiting call, and the tools of those calls.
WAITING_FOR = "EverloopWaitingFor"
WAITING_TOOLS = "EverloopWaitingTools"

#: Invocations that resume a turn after its decisions; no caller's invocation id begins so.
RESUME_PREFIX = "decided-"

#: Characters of a reason.
MAX_REASON = 2000
#: Characters of an answer: a caller's answer may be a document, a person's is not.
MAX_ANSWER = 64 * 1024
#: JSON bytes of edited arguments.
MAX_EDIT = 256 * 1024
#: Votes of one decision, edits included; each is an update of at most 2,000 in a run.
MAX_VOTES = 100


class DecisionStatus(StrEnum):
    """Where a decision stands."""

    OPEN = "open"
    #: The call may run, or an inline function's result says that it is approved.
    APPROVED = "approved"
    #: A person said no; the model reads why.
    REJECTED = "rejected"
    #: Somebody gave the call's result: a decider, or whoever invoked the harness.
    ANSWERED = "answered"
    #: The deadline passed and rejected it.
    EXPIRED = "expired"
    #: The turn ended otherwise, so that nothing is left to decide.
    WITHDRAWN = "withdrawn"


class VerdictKind(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"


#: `decidedBy` of what nobody decided in person: the deadline, and a `toolResult` of the caller's.
BY_DEADLINE = "everloop:deadline"
BY_CALLER = "everloop:caller"


class Gate(Value):
    """What a call must pass before it runs; kept with the call until then.

    Attributes:
        terms: how the decision is taken.
        rule: the name or number of the rule that asks; None when the tool itself does.
        namespace: the first half of the tool's pair in the `allowedTools` grammar.
        destructive: whether the tool declares that it may destroy.
        parameters: JSON schema of the arguments, which edited ones must fit.
    """

    terms: Terms = Terms()
    rule: str | None = None
    namespace: str = ""
    destructive: bool = False
    parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class Principal:
    """Who sends a request: a name, and the roles that come with it."""

    user: str
    roles: tuple[str, ...] = ()


#: Nobody's name is empty, so that no rule names whoever was not asked who they are.
NOBODY = Principal("")


@dataclass(frozen=True)
class NewVote:
    """What somebody says about a call.

    Attributes:
        vote_id: the idempotency key.
        digest: of the call that the decider saw.
        kind: what they say.
        reason: why, in their words.
        arguments: what should run instead; only to approve a call that Everloop runs.
        answer: the result; only to answer an inline function.
    """

    vote_id: str
    digest: str
    kind: VerdictKind
    reason: str | None = None
    arguments: dict[str, Any] | None = None
    answer: str | None = None


class VoteState(StrEnum):
    """The life of a vote."""

    #: Written down, not yet counted.
    CAST = "cast"
    COUNTED = "counted"
    REFUSED = "refused"


@dataclass(frozen=True)
class VoteRecord:
    """A vote.

    Attributes:
        vote: what was said.
        decider: who said it.
        at: when, UTC.
        state: whether it counted.
        revision: the revision of the arguments that it agrees to; 0 while it is not counted.
        refusal: why it did not count.
    """

    vote: NewVote
    decider: str
    at: datetime
    state: VoteState
    revision: int = 0
    refusal: ErrorDetail | None = None


@dataclass(frozen=True)
class DecisionRecord:
    """A decision.

    Attributes:
        id: names it in its account.
        session: the session's key.
        account: the owner of the harness.
        harness_id: the harness.
        harness_version: the version whose rules opened it.
        runtime_session_id: the caller's name of the session.
        invocation_id: the invocation whose model asked for the call.
        tool_use_id: the call.
        tool: its tool, as the model named it.
        kind: who runs it.
        proposed: the arguments that the model asked for.
        arguments: those that run, edits included.
        digest: SHA-256 in hexadecimal of tool and `arguments`.
        revision: counts the edits from 1; votes for earlier revisions do not count.
        gate: who decides and how; after an escalation, who decides now.
        escalated: whether the first deadline has passed on to others.
        status: where it stands.
        requested_at: UTC.
        due_at: when the deadline falls, UTC.
        decided_at: UTC.
        decided_by: who made the last vote that counted, or `BY_DEADLINE`, `BY_CALLER`.
        votes: in the order in which they were cast; empty in lists.
        root_session: for an agent's call, the session of the invocation that a caller began, as
            `HARNESS_ID/RUNTIME_SESSION_ID`.
    """

    id: str
    session: str
    account: str
    harness_id: str
    harness_version: str
    runtime_session_id: str
    invocation_id: str
    tool_use_id: str
    tool: str
    kind: ToolKind | None
    proposed: dict[str, Any]
    arguments: dict[str, Any]
    digest: str
    revision: int
    gate: Gate
    escalated: bool
    status: DecisionStatus
    requested_at: datetime
    due_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    votes: tuple[VoteRecord, ...] = ()
    root_session: str | None = None

    @property
    def runs_here(self) -> bool:
        """Whether Everloop runs the call, so that it can be edited but not answered."""
        return self.kind is not ToolKind.INLINE


@dataclass(frozen=True)
class CastVote:
    """The update `decide`: a vote that is written down is to be counted."""

    decision_id: str
    vote_id: str


@dataclass(frozen=True)
class WaitsFor:
    """What a parked session waits for, as search attributes tell it.

    Attributes:
        who: `user:NAME`, `role:NAME` or `anybody`.
        tools: the names of the tools.
    """

    who: tuple[str, ...]
    tools: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    """How the decisions of a session stand.

    Attributes:
        waiting: whether calls wait for somebody.
        due_s: when the next deadline falls, in seconds since the epoch.
        resume: the invocation that is to resume the turn, when everything is decided.
        shown: the search attributes to set; None where the server has none for us.
    """

    waiting: bool
    due_s: float | None = None
    resume: TurnRequest | None = None
    shown: WaitsFor | None = None
