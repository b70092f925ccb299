"""The inbox: what waits for people, one decision, and a vote about it."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field

from api.context import Context
from api.own.request import OwnRequest
from contracts.approvals import MAX_DEADLINE_S
from contracts.base import WireValue
from contracts.decisions import (
    MAX_ANSWER,
    MAX_REASON,
    RESUME_PREFIX,
    CastVote,
    DecisionRecord,
    DecisionStatus,
    NewVote,
    VerdictKind,
    VoteRecord,
    VoteState,
)
from contracts.errors import AwsError, ServiceError, invalid
from contracts.ids import INVOCATION_ID
from store.inbox import InboxFilter
from store.vote_rules import agreed

#: Decisions of one page unless the request says otherwise.
DEFAULT_LISTED = 50
#: The most, as in AWS's lists.
MAX_LISTED = 100
#: Characters of arguments that a list shows; of longer ones the single decision does.
LISTED_ARGUMENTS = 4000

_QUERY = frozenset(
    {
        "status",
        "mine",
        "user",
        "role",
        "harnessId",
        "rootSession",
        "olderThanSeconds",
        "maxResults",
        "nextToken",
    }
)

_Kind = TypeVar("_Kind", bound=StrEnum)


class VoteBody(WireValue):
    """The body of a vote."""

    decision: VerdictKind
    digest: Annotated[str, Field(min_length=1, max_length=128)]
    vote_id: Annotated[str, Field(pattern=f"^{INVOCATION_ID.pattern}$")] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)] | None = None
    arguments: dict[str, Any] | None = None
    answer: Annotated[str, Field(max_length=MAX_ANSWER)] | None = None


async def list_decisions(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Decisions of the account: open ones from the oldest on, others from the newest on.

    Raises:
        ServiceError: ValidationException.
    """
    query = request.query
    unknown = sorted(query.keys() - _QUERY)
    if unknown:
        raise invalid(unknown[0], f"is not known; there are {', '.join(sorted(_QUERY))}")
    mine = query.get("mine", "false")
    if mine not in ("true", "false"):
        raise invalid("mine", "must be true or false")
    before = None
    if "olderThanSeconds" in query:
        age = request.whole("olderThanSeconds", default=0, low=0, high=10 * MAX_DEADLINE_S)
        before = datetime.now(UTC) - timedelta(seconds=age)
    found, token = await context.store.decisions.list(
        context.settings.account,
        InboxFilter(
            status=_choice("status", query.get("status", "open"), DecisionStatus),
            who=request.principal if mine == "true" else None,
            role=query.get("role"),
            user=query.get("user"),
            root_session=query.get("rootSession"),
            harness_id=query.get("harnessId"),
            before=before,
        ),
        limit=request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=MAX_LISTED),
        after=query.get("nextToken"),
    )
    answer: dict[str, Any] = {"decisions": [_listed(each) for each in found]}
    if token is not None:
        answer["nextToken"] = token
    return answer


async def get_decision(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """One decision with its votes.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    return await _whole(context, request.labels["decisionId"])


async def cast_vote(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Vote as the request's principal; the answer comes when the vote has counted.

    The same vote id again gives the same answer.

    Raises:
        ServiceError: ResourceNotFoundException, AccessDeniedException, ConflictException,
            ValidationException; InternalServerException when it could not be counted yet, which is
            safe to repeat with the same vote id.
    """
    body = request.read(VoteBody)
    account, decision_id = context.settings.account, request.labels["decisionId"]
    new = NewVote(
        vote_id=body.vote_id or str(uuid.uuid4()),
        digest=body.digest,
        kind=body.decision,
        reason=body.reason,
        arguments=body.arguments,
        answer=body.answer,
    )
    vote = await context.store.decisions.cast(account, decision_id, new, request.principal)
    if vote.state is not VoteState.REFUSED:
        found = await context.store.decisions.get(account, decision_id)
        # Counted before: then only the turn that it resumes may still be owed.
        await context.sessions.decide(found.session, CastVote(decision_id, new.vote_id))
        found = await context.store.decisions.get(account, decision_id)
        vote = next(each for each in found.votes if each.vote.vote_id == new.vote_id)
    if vote.refusal is not None:
        refusal = vote.refusal
        raise ServiceError(
            refusal.error, refusal.message, reason=refusal.reason, fields=refusal.fields
        )
    if vote.state is not VoteState.COUNTED:
        raise ServiceError(
            AwsError.INTERNAL, "The vote is written down and not counted yet; repeat it."
        )
    return {"voteId": new.vote_id, **await _whole(context, decision_id)}


async def _whole(context: Context, decision_id: str) -> dict[str, Any]:
    found = await context.store.decisions.get(context.settings.account, decision_id)
    resumed = await context.store.turns.invocation(found.session, f"{RESUME_PREFIX}{found.id}")
    return {
        "decision": {
            **_shown(found),
            "proposedArguments": found.proposed,
            "arguments": found.arguments,
            "agreed": agreed(found),
            "votes": [_vote(each) for each in found.votes if each.state is not VoteState.CAST],
            "resumedBy": resumed.invocation_id if resumed else None,
        }
    }


def _listed(found: DecisionRecord) -> dict[str, Any]:
    short = len(json.dumps(found.arguments)) <= LISTED_ARGUMENTS
    return {**_shown(found), "arguments": found.arguments if short else None}


def _shown(found: DecisionRecord) -> dict[str, Any]:
    terms = found.gate.terms
    return {
        "decisionId": found.id,
        "status": found.status.value,
        "harnessId": found.harness_id,
        "harnessVersion": found.harness_version,
        "runtimeSessionId": found.runtime_session_id,
        "invocationId": found.invocation_id,
        "rootSession": found.root_session,
        "toolUseId": found.tool_use_id,
        "tool": found.tool,
        "runBy": "everloop" if found.runs_here else "caller",
        "digest": found.digest,
        "revision": found.revision,
        "rule": found.gate.rule,
        **terms.model_dump(mode="json", exclude_none=True),
        "escalated": found.escalated,
        "requestedAt": found.requested_at,
        "dueAt": found.due_at,
        "decidedAt": found.decided_at,
        "decidedBy": found.decided_by,
    }


def _vote(each: VoteRecord) -> dict[str, Any]:
    return {
        "voteId": each.vote.vote_id,
        "decider": each.decider,
        "at": each.at,
        "decision": each.vote.kind.value,
        "counted": each.state is VoteState.COUNTED,
        "revision": each.revision or None,
        "reason": each.vote.reason,
        "arguments": each.vote.arguments,
        "answer": each.vote.answer,
        "refusal": each.refusal.message if each.refusal else None,
    }


def _choice(name: str, given: str, kind: type[_Kind]) -> _Kind:
    try:
        return kind(given)
    except ValueError:
        raise invalid(name, f"must be one of {', '.join(kind)}") from None
