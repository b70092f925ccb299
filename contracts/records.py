"""What the store tells about harnesses, invocations, steps and tool calls.

Records are snapshots: they do not change when the store does.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from contracts.decisions import Gate
from contracts.errors import ErrorDetail
from contracts.harness import HarnessConfig, RunConfig
from contracts.messages import Message, StopReason, TokenUsage, ToolStatus, ToolUseBlock
from contracts.provisioning import Operation
from contracts.tools import CallState, ToolKind
from contracts.tracing import TraceContext
from contracts.usage import Usage


@dataclass(frozen=True)
class HarnessRecord:
    """One version of a harness.

    Attributes:
        account: the twelve-digit account that owns it.
        harness_id: its name, a dash and ten alphanumerics.
        name: what its creator called it.
        status: `HarnessStatus` of the control plane.
        version: the version that `config` is, a whole number from 1.
        created_at: when the harness was created, UTC.
        updated_at: when it was last changed, UTC.
        config: what the version fixes.
        live_version: the version that DEFAULT serves; None before the first is ready.
        failure_reason: why the last change failed, when it did.
        operation: the change that is under way; None when the harness has settled.
    """

    account: str
    harness_id: str
    name: str
    status: str
    version: str
    created_at: datetime
    updated_at: datetime
    config: HarnessConfig
    live_version: str | None = None
    failure_reason: str | None = None
    operation: Operation | None = None


#: The endpoint that every harness has and that follows its newest version.
DEFAULT_ENDPOINT = "DEFAULT"


@dataclass(frozen=True)
class EndpointRecord:
    """An endpoint of a harness.

    Attributes:
        account: the twelve-digit account that owns it.
        harness_id: the harness that it belongs to.
        harness_name: that harness's name.
        name: what callers give as `qualifier`.
        status: `HarnessEndpointStatus` of the control plane.
        target_version: the version that it points at.
        description: for people.
        created_at: UTC.
        updated_at: when it was last changed, UTC.
        live_version: the version that it serves; None before the first is ready.
        failure_reason: why the last change failed, when it did.
        operation: the change that is under way; None when the endpoint has settled.
    """

    account: str
    harness_id: str
    harness_name: str
    name: str
    status: str
    target_version: str
    description: str | None
    created_at: datetime
    updated_at: datetime
    live_version: str | None = None
    failure_reason: str | None = None
    operation: Operation | None = None


class InvocationState(StrEnum):
    """The life of an invocation."""

    #: Admitted; its turn has not begun.
    NEW = "new"
    #: Its turn runs.
    OPEN = "open"
    #: Its turn is over, well or badly.
    ENDED = "ended"
    #: It was refused before it changed anything.
    REFUSED = "refused"


@dataclass(frozen=True)
class InvocationRecord:
    """One call of InvokeHarness.

    Attributes:
        session: the session's key, `contracts.ids.session_key`.
        invocation_id: the idempotency key of the call.
        state: where it stands.
        config_digest: names the `RunConfig` that it runs with.
        stop_reason: how it ended; None before, and when it failed.
        error: why it failed or was refused.
        first_cursor: no row of the invocation has a lower cursor; whoever follows it from its
            beginning starts with `after=first_cursor - 1`.
        usage: tokens of all its steps, once it has ended.
        created_at: when it was admitted, UTC.
        ended_at: when it ended or was refused, UTC.
        trace: the span in which the caller invoked; None when it named none.
    """

    session: str
    invocation_id: str
    state: InvocationState
    config_digest: str
    stop_reason: StopReason | None
    error: ErrorDetail | None
    first_cursor: int
    usage: TokenUsage
    created_at: datetime
    ended_at: datetime | None
    trace: TraceContext | None = None


@dataclass(frozen=True)
class NewCall:
    """A tool call that a step's assistant message asks for.

    Attributes:
        block: the request, as it stands in the message.
        kind: who runs it; None when nobody can.
        queue: the task queue that runs it; None when the caller does, or nobody.
        timeout_s: seconds that it may take.
        failure: when set, the call is over at once with an error that says this.
        outcome: when set, the call is over at once and well, and says this.
        gate: what it must pass before it runs; an inline call always waits.
    """

    block: ToolUseBlock
    kind: ToolKind | None
    queue: str | None
    timeout_s: int
    failure: str | None = None
    outcome: str | None = None
    gate: Gate | None = None


@dataclass(frozen=True)
class CallRecord:
    """A tool call.

    Attributes:
        id: the tool-call id, unique in its session.
        session: the session's key.
        invocation_id: the invocation whose step asked for it.
        step: that step.
        seq: the assistant message that holds it.
        position: its place among the calls of that message, from 0.
        name: the tool, as the model named it.
        kind: who runs it; None when nobody can.
        queue: the task queue that runs it; None when the caller does, or nobody.
        timeout_s: seconds that it may take.
        input: its arguments.
        digest: SHA-256 in hexadecimal of the canonical JSON of name and input.
        state: where it stands.
        boot_id: the environment's boot under which it was started.
        status: how it went; None while it has no outcome.
        content: the outcome's text pieces.
        gate: what it must pass before it runs; None once it has, and for calls that pass freely.
        snapshot_id: the snapshot of the session's files that was made before it ran, if one was.
    """

    id: str
    session: str
    invocation_id: str
    step: int
    seq: int
    position: int
    name: str
    kind: ToolKind | None
    queue: str | None
    timeout_s: int
    input: dict[str, Any]
    digest: str
    state: CallState
    boot_id: str | None = None
    status: ToolStatus | None = None
    content: tuple[str, ...] = ()
    gate: Gate | None = None
    snapshot_id: str | None = None

    @property
    def runner(self) -> str | None:
        """The task queue that may run it now; None when a person must act first."""
        return None if self.gate else self.queue


@dataclass(frozen=True)
class Opening:
    """What opening an invocation found.

    Attributes:
        state: the invocation's state; only when it is OPEN does anything follow.
        seq: the newest message of the transcript.
        todo: calls of the newest assistant message that are still to be run, in call order.
        waiting: whether calls still wait for the caller, so that the turn cannot run.
        config: what the invocation runs with.
        resumes: whether it goes on with a turn that another one left waiting.
    """

    state: InvocationState
    seq: int
    todo: tuple[CallRecord, ...]
    waiting: bool
    config: RunConfig
    resumes: bool = False


@dataclass(frozen=True)
class StepRecord:
    """A settled step.

    Attributes:
        seq: its assistant message.
        stop_reason: why the model stopped.
        usage: its tokens.
        latency_ms: how long the model took.
        calls: the tool calls of the message, in call order.
    """

    seq: int
    stop_reason: StopReason
    usage: TokenUsage
    latency_ms: int
    calls: tuple[CallRecord, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class StepStart:
    """The right to write a step.

    Attributes:
        attempt: the fencing token, from 1; every later start of the step gets a higher one.
        seq: the newest message, results that were due included: the last that the model reads.
        settled: the step as it was committed before; then there is nothing left to do.
    """

    attempt: int
    seq: int
    settled: StepRecord | None = None


@dataclass(frozen=True)
class StoredMessage:
    """A message of the transcript in its place.

    Attributes:
        seq: its place, from 1.
        invocation_id: the invocation that put it there.
        message: what it says.
    """

    seq: int
    invocation_id: str
    message: Message


@dataclass(frozen=True)
class SummaryRecord:
    """What stands for the beginning of a transcript that is too long to be shown.

    Attributes:
        upto_seq: the newest message that it covers; it covers all before, too.
        text: the summary.
        usage: tokens of the model call that made it.
        cost_pico_usd: what that call cost; None when the price is not known.
    """

    upto_seq: int
    text: str
    usage: TokenUsage
    cost_pico_usd: int | None


@dataclass(frozen=True)
class RunRecord:
    """A turn from its beginning to its end, over all invocations that it took.

    Attributes:
        live: the invocation of it that runs or waits for its place; None when there is none.
        waiting: calls that wait for people; a later invocation will resume the turn.
        stop_reason: how the turn ended; None before, and when it failed.
        error: why it failed or was refused.
        message: its newest assistant message, if it has one.
        output: the structured result that the model gave, if it gave one.
        usage: what its model calls used.
        paused: whether it waits for a decision about its budget.
        below: whether `live` does nothing but wait for agents that wait for people.
        deleted: whether its session is being deleted.
    """

    live: str | None
    waiting: tuple[CallRecord, ...]
    stop_reason: StopReason | None
    error: ErrorDetail | None
    message: StoredMessage | None
    output: dict[str, Any] | None
    usage: Usage
    paused: bool = False
    below: bool = False
    deleted: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.deleted or (self.live is None and not self.waiting and not self.paused)
