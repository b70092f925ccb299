"""What crosses the boundary between the session workflow, its callers and its activities.

Everything here lands in workflow history, so it is small, frozen, and refers to the transcript
instead of carrying it. Activities know their session by the workflow id that Temporal gives them. A
field may be added with a default; renaming or removing one breaks histories and needs a new name.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from everloop.types import StopReason

#: The task queue of workflows and of every activity that no sandbox host must run.
TASK_QUEUE = "everloop"

#: A worker that dies in a workflow task of a session is noticed after this long. Tool calls are
#: tried within workflow tasks, so that it is not Temporal's ten seconds.
TASK_TIMEOUT = timedelta(seconds=6)

#: Errors of one model call, the last of which ends the turn.
MODEL_ERRORS = 8
#: Attempts of one model call, or one tool call, with those that died with their worker or host: one
#: that kills whatever runs it ends.
MAX_ATTEMPTS = 20

WORKFLOW = "HarnessSession"
UPDATE_INVOKE = "invoke"
#: To the workflow that an invocation's `reply_to` names, after a turn was closed.
SIGNAL_TURN_ENDED = "turn_ended"
#: To a session: end an invocation that runs or waits in its queue.
SIGNAL_CANCEL = "cancel"


class Activity(StrEnum):
    """Activity names."""

    OPEN_TURN = "open_turn"
    CLOSE_TURN = "close_turn"
    HAND_OVER = "hand_over"
    GIVE_UP_CALL = "give_up_call"
    CALL_MODEL = "call_model"
    RUN_TOOL = "run_tool"
    RUN_QUICKLY = "run_quickly"
    FIND_HOST = "find_host"
    DROP_ENVIRONMENT = "drop_environment"
    COUNT_VOTE = "count_vote"
    EXPIRE_DECISIONS = "expire_decisions"
    STANDING = "standing"
    TURN_WAITS = "turn_waits"


@dataclass(frozen=True)
class SessionState:
    """All that a run of the session workflow starts from, and hands to its successor.

    Attributes:
        grace_s: seconds without work before the run completes.
        park_s: seconds that a run waits for a person before it completes; a later answer starts a
            new run from the stored call.
        waiting: whether calls wait for the caller.
        queue: invocations accepted and not yet begun.
        progress: the turn that the last run was in the middle of.
        cancelled: whether the end of that turn was asked for.
        one_timer: whether one timer serves every wait of the run. Runs that earlier code began set
            one for each.
    """

    grace_s: int = 30
    park_s: int = 30 * 24 * 3600
    waiting: bool = False
    queue: tuple["TurnRequest", ...] = ()
    progress: "TurnProgress | None" = None
    cancelled: bool = False
    one_timer: bool = False

    @classmethod
    def first(cls, *, grace_s: int, park_s: int, waiting: bool) -> "SessionState":
        """What a run begins with that takes nothing over from another."""
        return cls(grace_s=grace_s, park_s=park_s, waiting=waiting, one_timer=True)


@dataclass(frozen=True)
class TurnRequest:
    """One invocation, as the update carries it; its messages are in the store."""

    invocation_id: str
    enqueue: bool = False


@dataclass(frozen=True)
class TurnAccepted:
    """The update's answer: the invocation has a place in the session."""

    invocation_id: str
    #: How many invocations run or wait before it.
    ahead: int = 0


@dataclass(frozen=True)
class CancelTurn:
    """The wish that an invocation ends now, whether it runs or waits for its turn."""

    invocation_id: str


@dataclass(frozen=True)
class CallRef:
    """A tool call that the workflow must see to, named and not described.

    Attributes:
        id: the tool-call id.
        queue: the task queue that runs it; None hands it to the caller.
        timeout_s: seconds that it may take, its runner's own overhead included.
        agent: whether it runs another harness, as a child workflow on that queue.
        quick: whether it is worth a try to have it done within a workflow task.
    """

    id: str
    queue: str | None
    timeout_s: int = 60
    agent: bool = False
    quick: bool = False


@dataclass(frozen=True)
class TurnOpened:
    """What `open_turn` found.

    Attributes:
        runs: False when the turn must not run: it was refused, has ended before, or still waits for
            answers. The log then already says so.
        seq: the newest message of the transcript, or the assistant message whose calls are `calls`.
        calls: calls of that message to run before the model is asked again.
        waiting: whether calls wait for the caller although the turn does not run.
        max_iterations: model calls that this invocation may make.
        max_tokens: output tokens that it may use; None is no limit.
        timeout_s: seconds that it may take.
        reply_to: workflows that are told: of the end of a turn that does not run, or that one which
            they wait for goes on.
    """

    runs: bool
    seq: int = 0
    calls: tuple[CallRef, ...] = ()
    waiting: bool = False
    max_iterations: int = 75
    max_tokens: int | None = None
    timeout_s: int = 3600
    reply_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class TurnProgress:
    """How far a turn has come: what the next model call needs to know, and the turn's limits.

    Attributes:
        invocation_id: the invocation.
        seq: the newest message of the transcript.
        step: model calls made.
        output_tokens: tokens they produced.
        max_iterations: model calls that the invocation may make.
        max_tokens: output tokens that it may use; None is no limit.
        deadline_s: when its time is over, in seconds since the epoch.
        missed: model calls that did not give the result which was asked for.
        left: a reply whose calls are not all done, because agents below wait for people.
        waiting: the calls of `left` whose agents do.
        left_s: seconds of its time that are left when it goes on after waiting for people below;
            None when it does not wait.
    """

    invocation_id: str
    seq: int
    step: int
    output_tokens: int
    max_iterations: int
    max_tokens: int | None
    deadline_s: float
    missed: int = 0
    left: "ModelReply | None" = None
    waiting: tuple[str, ...] = ()
    left_s: float | None = None


@dataclass(frozen=True)
class ModelCall:
    """One model call.

    Attributes:
        invocation_id: the invocation it belongs to.
        step: counts the model calls of the invocation from 0.
        seq: the newest message that the model reads, once results that are due have been settled.
    """

    invocation_id: str
    step: int
    seq: int


class OutputState(StrEnum):
    """What a model call did about the structured result that its invocation asks for."""

    #: None is asked for, or it is too early for one.
    NONE = "none"
    #: It gave one that fits the schema: the turn is complete.
    GIVEN = "given"
    #: It gave one that does not fit, or ended without any; it may try again.
    MISSED = "missed"


@dataclass(frozen=True)
class ModelReply:
    """What a model call left in the store.

    Attributes:
        seq: the assistant message's place in the transcript.
        stop_reason: why the model stopped.
        output_tokens: what it produced.
        calls: its tool calls that need running or handing over, in its order. Calls that could not
            be run at all (unknown tool, bad arguments) already have an error as their result.
        output: what it did about a structured result.
    """

    seq: int
    stop_reason: StopReason
    output_tokens: int
    calls: tuple[CallRef, ...] = ()
    output: OutputState = OutputState.NONE


@dataclass(frozen=True)
class ToolCall:
    """One tool call to run.

    Attributes:
        invocation_id: the invocation that runs.
        tool_use_id: which call.
        queue: the task queue of the sandbox host that has the session, for who asks that host
            directly.
    """

    invocation_id: str
    tool_use_id: str
    queue: str | None = None


@dataclass(frozen=True)
class DropEnvironment:
    """A session's environment and its files are to go; for the host that has them."""

    session: str


@dataclass(frozen=True)
class GiveUpCall:
    """A tool call that could not be run: its result will say why.

    `why` is a stable code: `unreachable`, or `agent_stopped`.
    """

    invocation_id: str
    tool_use_id: str
    why: str


@dataclass(frozen=True)
class HandOver:
    """The turn of an invocation must wait for the caller."""

    invocation_id: str


@dataclass(frozen=True)
class TurnWaits:
    """All that the turn of an invocation does is to wait for people below, or not any more."""

    invocation_id: str
    waits: bool


@dataclass(frozen=True)
class CloseTurn:
    """The end of an invocation.

    Attributes:
        invocation_id: which.
        stop_reason: how it ended; None when it failed.
        error: the `ErrorType` of the failure; its words are taken from the store.
    """

    invocation_id: str
    stop_reason: StopReason | None = None
    error: str | None = None


@dataclass(frozen=True)
class TurnEnded:
    """A turn was closed, waits, or goes on: what the workflows are told that wait for its end.

    Attributes:
        session: the session's key.
        invocation_id: the invocation whose turn it was; it may have resumed another one's.
        stop_reason: how it ended; None when it failed or was refused.
        error: the `ErrorType` of its failure.
        waiting: whether it waits for people and has its end still before it.
        resumed: whether it goes on after it waited.
    """

    session: str
    invocation_id: str
    stop_reason: StopReason | None = None
    error: str | None = None
    waiting: bool = False
    resumed: bool = False
