"""The life of a harness and of its endpoints: statuses, and what moves them from one to the next.

Whoever changes a resource writes the change and a status in transition, under an operation id of
its own, and starts the workflow of that operation. The id in the row is the right to move it on: it
goes when the resource has settled, so that whatever comes late, or again, finds nothing to do.
"""

from dataclasses import dataclass
from enum import StrEnum

WORKFLOW_PROVISIONING = "Provisioning"


class ResourceStatus(StrEnum):
    """`HarnessStatus` and `HarnessEndpointStatus` of the service model."""

    CREATING = "CREATING"
    CREATE_FAILED = "CREATE_FAILED"
    UPDATING = "UPDATING"
    UPDATE_FAILED = "UPDATE_FAILED"
    READY = "READY"
    DELETING = "DELETING"
    DELETE_FAILED = "DELETE_FAILED"

    @property
    def moves(self) -> bool:
        """Whether a workflow is to move it on."""
        return self in _FAILED

    @property
    def failed(self) -> "ResourceStatus":
        """What a status in transition becomes when the operation fails."""
        return _FAILED[self]


_FAILED = {
    ResourceStatus.CREATING: ResourceStatus.CREATE_FAILED,
    ResourceStatus.UPDATING: ResourceStatus.UPDATE_FAILED,
    ResourceStatus.DELETING: ResourceStatus.DELETE_FAILED,
}

#: Nobody gets at a harness in one of these, nor starts anything in a session of it.
GOING = (ResourceStatus.DELETING, ResourceStatus.DELETE_FAILED)


class ProvisioningActivity(StrEnum):
    """Names of the workflow's activities, beside `Activity.DROP_ENVIRONMENT`."""

    SETTLE = "settle_resource"
    FIND_SESSIONS = "find_sessions"
    END_SESSION = "end_session"
    FINISH_DELETE = "finish_delete"


@dataclass(frozen=True)
class Operation:
    """A change of a resource that is under way.

    Attributes:
        account: the owner.
        harness_id: the harness.
        operation_id: tells it from every other change of the resource.
        endpoint: the endpoint that is changed; None when it is the harness.
    """

    account: str
    harness_id: str
    operation_id: str
    endpoint: str | None = None

    @property
    def workflow_id(self) -> str:
        """The id of its workflow: starting it twice starts it once."""
        resource = (
            self.harness_id if self.endpoint is None else f"{self.harness_id}:{self.endpoint}"
        )
        return f"provision:{self.account}:{resource}:{self.operation_id}"


@dataclass(frozen=True)
class Settled:
    """What settling a resource came to.

    Attributes:
        ends_sessions: the harness goes; its sessions are to be ended first.
    """

    ends_sessions: bool = False


@dataclass(frozen=True)
class Removal:
    """How far the sessions of a harness that goes have been ended.

    Attributes:
        after: the session up to which, in order of their keys.
        unreachable: hosts that did not answer, whose sessions' environments are still there.
        left: how many sessions those are, others that failed included.
    """

    after: str = ""
    unreachable: tuple[str, ...] = ()
    left: int = 0


@dataclass(frozen=True)
class Provision:
    """All that a run of the workflow starts from; `removal` is what the last run came to."""

    operation: Operation
    removal: Removal | None = None


@dataclass(frozen=True)
class FindSessions:
    """Which sessions of a harness to look for: those after a key, at most so many."""

    operation: Operation
    after: str
    limit: int


@dataclass(frozen=True)
class SessionLeft:
    """A session of a harness that goes, of which something is left.

    Attributes:
        session: its key, which is its workflow's id.
        busy: whether an invocation runs or waits in it.
        queue: the task queue of the sandbox host that has its environment or its files, if any.
    """

    session: str
    busy: bool
    queue: str | None


@dataclass(frozen=True)
class SessionsLeft:
    """A page of them, in order of their keys."""

    sessions: tuple[SessionLeft, ...]


@dataclass(frozen=True)
class EndSession:
    """A session whose invocations are to be ended."""

    session: str


@dataclass(frozen=True)
class FinishDelete:
    """The sessions of a harness have been ended, as `removal` says."""

    operation: Operation
    removal: Removal
