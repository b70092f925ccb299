"""Notices: what Everloop tells others by itself, when a decision opens, passes on, or closes.

A notice is written in the transaction that changes the decision, and sent by a workflow of its own.
A worker that sends notices by several ways, or to several people, first makes one of it for each.
Workflows and their history name it by its id; what it says is read from the store when it is sent.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.decisions import DecisionRecord

WORKFLOW_NOTICE = "DeliverNotice"

#: Of the ids of those workflows, before the notice's id.
NOTICE_PREFIX = "notice:"

#: For how long a notice is sent again: over a night in which a receiver is down, and no longer than
#: anybody still wants to hear of it.
DELIVERY_S = 24 * 3600


class NoticeKind(StrEnum):
    """What happened."""

    OPENED = "opened"
    #: The first deadline has passed; others decide now.
    ESCALATED = "escalated"
    #: Whichever way; the decision's status says which.
    CLOSED = "closed"


class NoticeChannel(StrEnum):
    """How a notice is sent."""

    WEBHOOK = "webhook"
    EMAIL = "email"


class NoticeState(StrEnum):
    """Where a notice stands."""

    #: To be sent, or sent again.
    WAITING = "waiting"
    #: The receiver said that it has it.
    DELIVERED = "delivered"
    #: Given up.
    FAILED = "failed"


class NoticeActivity(StrEnum):
    """Names of the activities of notices."""

    DELIVER = "deliver_notice"
    GIVE_UP = "give_up_notice"


@dataclass(frozen=True)
class NoticeOrder:
    """A notice that is to be sent."""

    notice_id: str


@dataclass(frozen=True)
class NoticeRecord:
    """A notice.

    Attributes:
        id: names it, also to its receiver.
        kind: what happened.
        at: when it happened, UTC.
        state: where it stands.
        attempts: how often it was sent.
        error: why it could not be delivered the last time; None when there was no such time.
        settled_at: when it was delivered or given up, UTC.
        decision: what it is about, as it stands now and without votes.
        channel: how it is sent; None before a worker that sends notices has seen it.
        recipient: the address that it is mailed to.
    """

    id: str
    kind: NoticeKind
    at: datetime
    state: NoticeState
    attempts: int
    error: str | None
    settled_at: datetime | None
    decision: DecisionRecord
    channel: NoticeChannel | None = None
    recipient: str | None = None
