"""What crosses the boundary to a `HarnessMailbox` workflow: ids, its answer to a query, as JSON.

Its signal takes a `HarnessRun`, as `RunHarness` does. A field may be added with a default; renaming
or removing one breaks senders.
"""

import re
from dataclasses import dataclass, field

#: The workflow type that runs what a session is sent, one after the other.
MAILBOX = "HarnessMailbox"
#: The signal that brings a `HarnessRun`.
SIGNAL_RUN = "run_harness"
#: The query that a `MailboxStanding` answers.
QUERY_STANDING = "standing"

#: Requests that wait in one mailbox: as many as invocations wait in a session.
MAX_QUEUED = 100
#: JSON bytes of them together: they are the input of a run that continues, of which Temporal takes
#: 2 MB.
MAX_QUEUED_BYTES = 1_000_000
#: Of those that ended, and of those that were refused, so many of the newest are named.
KEPT = 50
#: What names a request: it is the end of a workflow id, behind a slash.
KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:-]{0,199}")


@dataclass(frozen=True)
class RefusedRun:
    """A request that is not run.

    Attributes:
        key: names it; None when it could not be read.
        reason: what is wrong.
    """

    key: str | None
    reason: str


@dataclass(frozen=True)
class EndedRun:
    """A request that was run.

    Attributes:
        key: names it.
        failure: None, or the type of the run's failure.
    """

    key: str
    failure: str | None = None


@dataclass(frozen=True)
class MailboxStanding:
    """How a mailbox stands; it is also its result.

    Attributes:
        running: the key of the request that runs.
        queued: keys of those that wait, in their order.
        ended: the newest `KEPT` that ended, oldest first.
        refused: the newest `KEPT` that were refused, oldest first.
        ended_in_all: how many ended since the mailbox began.
        refused_in_all: how many were refused since then.
        arrived: how many have come and were not looked at yet.
    """

    running: str | None = None
    queued: list[str] = field(default_factory=list[str])
    ended: list[EndedRun] = field(default_factory=list[EndedRun])
    refused: list[RefusedRun] = field(default_factory=list[RefusedRun])
    ended_in_all: int = 0
    refused_in_all: int = 0
    arrived: int = 0


def mailbox_id(harness: str, session_id: str) -> str:
    """The workflow id of a session's mailbox; `harness` as the requests in it name it."""
    return f"mailbox/{harness}/{session_id}"


def run_id(mailbox: str, key: str) -> str:
    """The id of the `RunHarness` workflow that runs a request."""
    return f"{mailbox}/{key}"
