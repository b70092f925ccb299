"""Deleting a session, or all that is of an actor, for good.

Workflows and their history name a deletion by its id; what is deleted is in the store until it is
done, and then only its digest.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

WORKFLOW_DELETE_SESSION = "DeleteSession"
WORKFLOW_DELETE_ACTOR = "DeleteActor"
WORKFLOW_RETENTION = "Retention"

#: The Temporal Schedule that starts the retention workflow.
RETENTION_SCHEDULE = "everloop-retention"


class DeletionKind(StrEnum):
    """What is deleted."""

    SESSION = "session"
    ACTOR = "actor"


class DeletionReason(StrEnum):
    """Why."""

    REQUEST = "request"
    RETENTION = "retention"


class DeletionActivity(StrEnum):
    """Names of the activities of deletions, beside `Activity.DROP_ENVIRONMENT`."""

    END_RUNS = "end_runs"
    DELETE_ROWS = "delete_rows"
    DELETE_EXECUTIONS = "delete_executions"
    COMPLETE_DELETION = "complete_deletion"
    CLAIM_SESSIONS = "claim_sessions"
    EXPIRE = "expire"
    CLAIM_AGENTS = "claim_agents"


@dataclass(frozen=True)
class DeletionOrder:
    """A deletion that is to be carried out.

    Attributes:
        deletion_id: which; the store knows of what.
        session: whose environment is still to be dropped, once everything else is gone.
        queue: the task queue of the host that has it.
        after: of the deletions below it, only those whose ids come behind this one.
    """

    deletion_id: str
    session: str | None = None
    queue: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class RunsEnded:
    """Nothing of the session runs any more.

    Attributes:
        session: the session's key; None when the deletion is done already.
        queue: the task queue of the host that has its environment; None when it has none.
    """

    session: str | None = None
    queue: str | None = None


@dataclass(frozen=True)
class OpenDeletions:
    """Deletions that are to be carried out next; none when there is nothing left.

    Attributes:
        sessions: of sessions.
        actors: of actors.
        last: the last of both, behind which the next page begins.
    """

    sessions: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    last: str | None = None


@dataclass(frozen=True)
class DeletionRecord:
    """A deletion, and once it is complete the receipt of it. It holds nothing of what was deleted.

    Attributes:
        id: its name.
        account: whose.
        kind: what was deleted.
        digest: SHA-256 in hexadecimal of the session's key or the actor's id, so that whoever knows
            the name can find the receipt, and nobody else learns it.
        reason: why.
        requested_by: the access key id that asked; `everloop` for retention.
        requested_at: UTC.
        completed_at: UTC; None while it runs.
        counts: rows by table, Temporal's runs as `temporal_runs`, and sessions of agents, each with
            a deletion of its own, as `agent_sessions`.
        agents: the deletions of its agents' sessions.
    """

    id: str
    account: str
    kind: DeletionKind
    digest: str
    reason: DeletionReason
    requested_by: str
    requested_at: datetime
    completed_at: datetime | None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    agents: tuple[str, ...] = ()
