"""What a harness run gives its caller."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from everloop.errors import OUTPUT_MISSING, OutputMissing
from everloop.output import OutputType
from everloop.runs import HarnessOutcome
from everloop.types import StopReason, TokenUsage

T = TypeVar("T")

_DONE = (StopReason.END_TURN, StopReason.STOP_SEQUENCE)


@dataclass(frozen=True)
class HarnessResult(Generic[T]):
    """The end of a run.

    Attributes:
        text: the text of the last assistant message.
        output: the structured result, of the type that was asked for; None when none was.
        content: the last assistant message's `text` and `toolUse` blocks, as on AWS's wire.
        stop_reason: why the agent stopped; limits are reasons, too, and no errors.
        usage: tokens of all model calls.
        cost_usd: what the calls with a known price cost; None when no price is known.
        session_id: the session, in which more can be asked.
        invocation_id: the invocation that began the run.
        harness_arn: what ran.
        harness_version: in which version.
        truncated: whether text was cut; the whole is in the session's transcript.
    """

    text: str
    output: T
    content: tuple[dict[str, Any], ...]
    stop_reason: StopReason
    usage: TokenUsage
    cost_usd: float | None
    session_id: str
    invocation_id: str
    harness_arn: str
    harness_version: str
    truncated: bool

    @property
    def done(self) -> bool:
        """Whether the agent said that it was done, and met no limit."""
        return self.stop_reason in _DONE


def result_of(outcome: HarnessOutcome, wanted: OutputType[T] | None) -> HarnessResult[T]:
    """Read an outcome.

    Raises:
        OutputMissing: the structured result fits the schema and yet not the type.
    """
    output: Any = None
    if wanted is not None:
        try:
            output = wanted.read(outcome.output or {})
        except ValueError as error:
            details = {
                "session_id": outcome.session_id,
                "invocation_id": outcome.invocation_id,
                "stop_reason": outcome.stop_reason.value,
            }
            message = f"the result does not fit the type: {error}"
            raise OutputMissing(message, details, OUTPUT_MISSING) from error
    return HarnessResult(
        text="".join(block.get("text", "") for block in outcome.content),
        output=cast("T", output),
        content=tuple(outcome.content),
        stop_reason=outcome.stop_reason,
        usage=TokenUsage(**outcome.usage),
        cost_usd=outcome.cost_usd,
        session_id=outcome.session_id,
        invocation_id=outcome.invocation_id,
        harness_arn=outcome.harness_arn,
        harness_version=outcome.harness_version,
        truncated=outcome.truncated,
    )
