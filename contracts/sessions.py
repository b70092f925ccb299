"""What the store tells about sessions from outside of a turn."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from contracts.base import Value
from contracts.harness import ModelConfig
from contracts.messages import Message
from contracts.tools import CallState


class SessionStatus(StrEnum):
    """What a session does."""

    #: A turn runs.
    RUNNING = "running"
    #: Calls wait for people, and no turn runs; or all that it does is to wait for agents that do.
    WAITING = "waiting"
    #: Neither.
    IDLE = "idle"


class SessionDefaults(Value):
    """What the invocations of a session run with unless they say otherwise.

    Attributes:
        qualifier: the endpoint.
        model: the model.
    """

    qualifier: str | None = None
    model: ModelConfig | None = None


@dataclass(frozen=True)
class ForkFiles:
    """The copied files that a fork begins with.

    Attributes:
        host: the sandbox host that has them.
        staged: names the copy there.
    """

    host: str
    staged: str


@dataclass(frozen=True)
class ForkOrder:
    """A fork that is to be made.

    Attributes:
        origin: the old session's key.
        key: the new session's.
        account: the owner of both.
        harness_id: the new session's harness.
        runtime_session_id: its name.
        from_seq: the newest message to take along; None takes the newest that can be.
        digest: of all that was asked for: tells whether a repetition asks for the same.
        by_token: whether the new session's name comes from a client token.
        defaults: what its invocations run with.
        files: those that it begins with; none when absent.
    """

    origin: str
    key: str
    account: str
    harness_id: str
    runtime_session_id: str
    from_seq: int | None
    digest: str
    by_token: bool = False
    defaults: SessionDefaults | None = None
    files: ForkFiles | None = None

    def with_files(self, files: ForkFiles) -> "ForkOrder":
        """The same fork, with files."""
        return replace(self, files=files)


@dataclass(frozen=True)
class SessionFilter:
    """Which sessions of an account are listed; None leaves nothing out.

    Attributes:
        harness_id: only those of this harness.
        actor_id: only those that this actor began.
        status: only those that do this now.
        created_after: only younger ones.
        created_before: only older ones.
    """

    harness_id: str | None = None
    actor_id: str | None = None
    status: SessionStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class SessionRecord:
    """A session as it stands.

    Attributes:
        key: `contracts.ids.session_key`.
        harness_id: its harness.
        runtime_session_id: the caller's name of it.
        actor_id: on whose behalf its first invocation ran.
        status: what it does.
        running: the invocation whose turn runs.
        messages: how many its transcript has; also the newest one's seq.
        cursor: the newest row of its log.
        created_at: UTC.
        active_at: when an invocation last came, opened or ended, UTC.
        forked_seq: how many messages it took along from another session; None when it is no fork.
        forked_from: that session's key; None also when that was deleted.
        defaults: what its invocations run with unless they say otherwise.
    """

    key: str
    harness_id: str
    runtime_session_id: str
    actor_id: str | None
    status: SessionStatus
    running: str | None
    messages: int
    cursor: int
    created_at: datetime
    active_at: datetime
    forked_seq: int | None = None
    forked_from: str | None = None
    defaults: SessionDefaults | None = None


@dataclass(frozen=True)
class TranscriptEntry:
    """A message of the transcript with its provenance.

    Attributes:
        seq: its place, from 1.
        invocation_id: the invocation that put it there.
        message: what it says.
        model_id: the model that said it; None for what came from outside.
        created_at: UTC.
    """

    seq: int
    invocation_id: str
    message: Message
    model_id: str | None
    created_at: datetime


@dataclass(frozen=True)
class CallEntry:
    """A tool call without its arguments and outcome, which are in the transcript.

    Attributes:
        seq: the assistant message that asked for it.
        position: its place among that message's calls.
        id: the tool-call id.
        name: the tool.
        state: where it stands.
        status: how it went; None while it has no outcome.
        digest: of its name and arguments.
        invocation_id: the invocation whose step asked for it.
        snapshot_id: the snapshot of the session's files that was made before it, if one was.
    """

    seq: int
    position: int
    id: str
    name: str
    state: CallState
    status: str | None
    digest: str
    invocation_id: str
    snapshot_id: str | None = None
