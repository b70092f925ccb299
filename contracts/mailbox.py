"""What a mailbox's run hands to the next one. What senders see is public: `everloop.mailbox`."""

from dataclasses import dataclass, field

from everloop.mailbox import MailboxStanding
from everloop.runs import HarnessRun


@dataclass(frozen=True)
class QueuedRun:
    """A request in the queue.

    Attributes:
        key: names it.
        run: what was asked for; with a deadline once it runs.
        size: its bytes as JSON.
    """

    key: str
    run: HarnessRun
    size: int


@dataclass(frozen=True)
class MailboxState:
    """What a run begins with; a sender begins one with nothing.

    Attributes:
        queue: what is to run. The first may have a run that goes.
        standing: what was told so far of requests that ended or were refused.
    """

    queue: tuple[QueuedRun, ...] = ()
    standing: MailboxStanding = field(default_factory=MailboxStanding)
