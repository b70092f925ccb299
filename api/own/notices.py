"""Notices: what was sent about decisions, and what became of it."""

from collections.abc import Mapping
from typing import Any

from api.context import Context
from api.own.request import OwnRequest
from contracts.errors import invalid
from contracts.notices import NoticeRecord, NoticeState
from store.paging import MAX_PAGE

#: Notices of one page unless the request says otherwise.
DEFAULT_LISTED = 50

_QUERY = frozenset({"state", "maxResults", "nextToken"})


async def list_notices(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Notices of the account, newest first.

    Raises:
        ServiceError: ValidationException.
    """
    query = request.query
    unknown = sorted(query.keys() - _QUERY)
    if unknown:
        raise invalid(unknown[0], f"is not known; there are {', '.join(sorted(_QUERY))}")
    found, token = await context.store.notices.list(
        context.settings.account,
        state=_state(query["state"]) if "state" in query else None,
        limit=request.whole("maxResults", default=DEFAULT_LISTED, low=1, high=MAX_PAGE),
        after=query.get("nextToken"),
    )
    answer: dict[str, Any] = {"notices": [_shown(each) for each in found]}
    if token is not None:
        answer["nextToken"] = token
    return answer


def _state(given: str) -> NoticeState:
    try:
        return NoticeState(given)
    except ValueError:
        raise invalid("state", f"must be one of {', '.join(NoticeState)}") from None


def _shown(found: NoticeRecord) -> dict[str, Any]:
    return {
        "noticeId": found.id,
        "kind": found.kind.value,
        "at": found.at,
        "state": found.state.value,
        "channel": found.channel.value if found.channel else None,
        "recipient": found.recipient,
        "attempts": found.attempts,
        "error": found.error,
        "settledAt": found.settled_at,
        "decisionId": found.decision.id,
        "decisionStatus": found.decision.status.value,
        "tool": found.decision.tool,
        "harnessId": found.decision.harness_id,
        "runtimeSessionId": found.decision.runtime_session_id,
    }
