"""What every notice tells, in whichever form it goes out."""

import json
from typing import Any

from contracts.notices import NoticeKind, NoticeRecord

#: Characters of a call's arguments as JSON; of longer ones the API shows the whole.
TOLD_ARGUMENTS = 4000

HEADLINES = {
    NoticeKind.OPENED: "A decision is waited for",
    NoticeKind.ESCALATED: "A decision was passed on",
    NoticeKind.CLOSED: "A decision was closed",
}


class Missed(Exception):
    """A receiver does not have a notice."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        """Carry why, without a word of the receiver's, and whether it is no use to try again."""
        super().__init__(why)
        self.for_good = for_good


def lines_of(found: NoticeRecord, *, arguments: bool) -> list[str]:
    """A notice for people, line by line; the first one is its headline. Names are as others wrote.

    Args:
        found: the notice.
        arguments: whether the call's arguments are told.
    """
    about = found.decision
    status = about.status.value
    by = f" by {about.decided_by}" if about.decided_by else ""
    until = f", until {about.due_at:%Y-%m-%d %H:%M} UTC" if about.due_at else ""
    who = f"{about.gate.terms.deciders} may decide{until}"
    lines = [
        f"{HEADLINES[found.kind]}: {about.tool}",
        f"{about.harness_id}, session {about.runtime_session_id}",
        f"{status}{by}" if found.kind is NoticeKind.CLOSED else f"{status}: {who}",
    ]
    if arguments and (told := arguments_of(found)) is not None:
        lines.append(json.dumps(told, ensure_ascii=False))
    return lines


def arguments_of(found: NoticeRecord) -> dict[str, Any] | None:
    """The call's arguments; None when they are too long to be told."""
    arguments = found.decision.arguments
    return arguments if len(json.dumps(arguments)) <= TOLD_ARGUMENTS else None


def url_of(found: NoticeRecord, public_url: str) -> str:
    """Where the decision is."""
    return f"{public_url}/everloop/v1/decisions/{found.decision.id}"
