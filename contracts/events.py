"""The event log of a session: what its rows say.

A row is (session, cursor, invocation, step, attempt, index, kind, payload). Within a session
cursors ascend in commit order. A settled message supersedes the deltas of its step, which are then
dropped; a higher attempt retracts what lower attempts of the same step wrote.
"""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from contracts.base import Value
from contracts.errors import AwsError, FieldError, Reason
from contracts.messages import StopReason, TokenUsage


class EventKind(StrEnum):
    """What a row of the log tells."""

    #: The invocation's messages are in the transcript and its turn runs.
    OPENED = "opened"
    #: The invocation was refused before it changed anything.
    REFUSED = "refused"
    #: Pieces of the assistant message that a step is making.
    DELTA = "delta"
    #: A step's assistant message is settled.
    MESSAGE = "message"
    #: Results of tool calls are settled.
    RESULTS = "results"
    #: Calls that the caller must answer, shown again.
    HANDOVER = "handover"
    #: The invocation ended.
    END = "end"


#: The step number of rows that belong to the invocation, not to one model call.
NO_STEP = -1


class BlockDelta(Value):
    """A piece of one block of a message in the making; exactly one of the pieces is set.

    `block` counts from 0 within the message. `tool_use_id` with `tool_name` opens a tool call whose
    argument fragments follow as `input`.
    """

    block: int = Field(ge=0)
    text: str | None = None
    reasoning: str | None = None
    signature: str | None = None
    redacted: str | None = None
    tool_use_id: str | None = None
    tool_name: str | None = None
    input: str | None = None


class Opened(Value):
    """Payload of an OPENED row."""

    kind: Literal[EventKind.OPENED] = EventKind.OPENED


class Refused(Value):
    """Payload of a REFUSED row: the error that the caller gets."""

    kind: Literal[EventKind.REFUSED] = EventKind.REFUSED
    error: AwsError
    message: str
    reason: Reason | None = None
    fields: tuple[FieldError, ...] = ()


class Delta(Value):
    """Payload of a DELTA row."""

    kind: Literal[EventKind.DELTA] = EventKind.DELTA
    pieces: tuple[BlockDelta, ...]


class Settled(Value):
    """Payload of a MESSAGE row: where the message is, and what it cost."""

    kind: Literal[EventKind.MESSAGE] = EventKind.MESSAGE
    seq: int
    usage: TokenUsage
    latency_ms: int


class Results(Value):
    """Payload of a RESULTS row: settled tool calls, in call order."""

    kind: Literal[EventKind.RESULTS] = EventKind.RESULTS
    tool_use_ids: tuple[str, ...]


class Handover(Value):
    """Payload of a HANDOVER row: calls that still wait for the caller, in call order."""

    kind: Literal[EventKind.HANDOVER] = EventKind.HANDOVER
    tool_use_ids: tuple[str, ...]


class Ended(Value):
    """Payload of an END row. With an error, `stop_reason` is None."""

    kind: Literal[EventKind.END] = EventKind.END
    stop_reason: StopReason | None = None
    error: AwsError | None = None
    message: str | None = None


Payload = Opened | Refused | Delta | Settled | Results | Handover | Ended


class Event(Value):
    """One row of a session's log."""

    cursor: int
    invocation_id: str
    step: int
    attempt: int
    index: int
    payload: Payload = Field(discriminator="kind")
