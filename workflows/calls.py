"""How the session workflow asks for its side effects: one function an activity, with its policy.

Local activities are of a few milliseconds, idempotent by design: single store transactions, and the
first second of a tool call. Everything that can take long is a regular activity.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)

from contracts.decisions import CastVote, Standing
from contracts.errors import ErrorType
from contracts.turn import (
    MAX_ATTEMPTS,
    Activity,
    CallRef,
    CloseTurn,
    GiveUpCall,
    HandOver,
    ModelCall,
    ModelReply,
    ToolCall,
    TurnEnded,
    TurnOpened,
    TurnRequest,
    TurnWaits,
)
from everloop.types import StopReason
from workflows.replies import tell
from workflows.stopping import Stopping

#: A dead worker is noticed after this long. Heartbeats come from a background task every second.
HEARTBEAT = timedelta(seconds=5)

#: A sandbox host that takes nothing from its queue for this long is gone; a restart takes a few
#: seconds.
HOST_WAIT = timedelta(seconds=30)

#: The lease of a sandbox host that died is over after this long: another may take its sessions.
LEASE_WAIT = timedelta(seconds=16)

#: The longest single model call: reasoning models stream for many minutes.
MODEL_TIMEOUT = timedelta(minutes=30)

#: What a tool call's runner may need beyond the tool's own time: start of an environment, drain,
#: kill.
TOOL_MARGIN = timedelta(seconds=30)

#: The first try of a tool call, which the worker bounds more narrowly. It holds up the workflow
#: task, and with it a cancellation.
QUICK_TIMEOUT = timedelta(seconds=4)

#: A store transaction; waiting for a lock is the longest part of it.
STORE_TIMEOUT = timedelta(seconds=30)

#: The store is retried until it answers: giving up would lose a turn that the log says is running.
STORE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5)
)

#: For attempts that died with whoever ran them: the next follows soon. After an error of a model,
#: its activity says when the next attempt is due and whether there is one. A tool call is keyed by
#: its id, so that its retry re-attaches.
CALL_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=100),
    maximum_interval=timedelta(seconds=5),
    maximum_attempts=MAX_ATTEMPTS,
)


async def open_turn(request: TurnRequest) -> TurnOpened:
    """Bring the invocation's messages into the transcript, or learn that it must not run."""
    opened: TurnOpened = await workflow.execute_local_activity(
        Activity.OPEN_TURN,
        request,
        result_type=TurnOpened,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
    session = workflow.info().workflow_id
    news = TurnEnded(session, request.invocation_id, resumed=True)
    if not opened.runs:
        news = TurnEnded(session, request.invocation_id, waiting=opened.waiting)
    await tell(opened.reply_to, news)
    return opened


async def turn_waits(invocation_id: str, waits: bool) -> None:
    """Write down that a turn only waits for people below, or not any more, and tell who waits."""
    reply_to: tuple[str, ...] = await workflow.execute_local_activity(
        Activity.TURN_WAITS,
        TurnWaits(invocation_id, waits),
        result_type=tuple[str, ...],
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
    session = workflow.info().workflow_id
    await tell(reply_to, TurnEnded(session, invocation_id, waiting=waits, resumed=not waits))


async def close_turn(end: CloseTurn) -> None:
    """Settle what is left, write the end of the invocation and tell whoever waits for it."""
    reply_to: tuple[str, ...] | None = await workflow.execute_local_activity(
        Activity.CLOSE_TURN,
        end,
        result_type=tuple[str, ...] | None,  # pyright: ignore[reportArgumentType]
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
    told = TurnEnded(
        session=workflow.info().workflow_id,
        invocation_id=end.invocation_id,
        stop_reason=end.stop_reason,
        error=end.error,
        waiting=end.stop_reason in (StopReason.TOOL_USE, StopReason.PARTIAL_TURN),
    )
    await tell(reply_to or (), told)


async def hand_over(invocation_id: str) -> None:
    """Show the caller the calls that wait for it."""
    await workflow.execute_local_activity(
        Activity.HAND_OVER,
        HandOver(invocation_id),
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def count_vote(vote: CastVote) -> Standing:
    """Count a vote, and learn how the session's decisions stand."""
    return await workflow.execute_local_activity(
        Activity.COUNT_VOTE,
        vote,
        result_type=Standing,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def expire_decisions() -> Standing:
    """Apply the deadlines that have passed, and learn how the session's decisions stand."""
    return await workflow.execute_local_activity(
        Activity.EXPIRE_DECISIONS,
        result_type=Standing,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def standing() -> Standing:
    """Learn how the session's decisions stand."""
    return await workflow.execute_local_activity(
        Activity.STANDING,
        result_type=Standing,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def call_model(call: ModelCall) -> ModelReply:
    """Make one model call.

    Raises:
        ActivityError: it failed for good, or too often.
    """
    return await workflow.execute_activity(
        Activity.CALL_MODEL,
        call,
        result_type=ModelReply,
        start_to_close_timeout=MODEL_TIMEOUT,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=CALL_RETRY,
    )


async def run_tool(invocation_id: str, call: CallRef, stopping: Stopping) -> None:
    """Run a tool call; it leaves its outcome in the store."""
    if call.quick and await _run_quickly(invocation_id, call):
        return
    stopping.check()
    try:
        await _on_host(invocation_id, call, call.queue, LEASE_WAIT)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        # Runs of releases without take-over gave the call up at once.
        if not (_may_go_on(error) and workflow.patched("take-over")):
            await give_up(GiveUpCall(invocation_id, call.id, "unreachable"))
            return
        await _again(invocation_id, call, stopping)


async def _run_quickly(invocation_id: str, call: CallRef) -> bool:
    """Have a call done while this workflow task waits; False when it must be seen to further."""
    try:
        return await workflow.execute_local_activity(
            Activity.RUN_QUICKLY,
            ToolCall(invocation_id, call.id, call.queue),
            result_type=bool,
            start_to_close_timeout=QUICK_TIMEOUT,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
    # A local activity's failure comes without an ActivityError around it.
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        return False


async def _again(invocation_id: str, call: CallRef, stopping: Stopping) -> None:
    """Run a call where its session is now: on its own host, or on the one that took it over."""
    queue: str | None = await workflow.execute_local_activity(
        Activity.FIND_HOST,
        result_type=str | None,  # pyright: ignore[reportArgumentType]
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
    stopping.check()
    try:
        await _on_host(invocation_id, call, queue or call.queue, HOST_WAIT - LEASE_WAIT)
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        await give_up(GiveUpCall(invocation_id, call.id, "unreachable"))


async def _on_host(invocation_id: str, call: CallRef, queue: str | None, wait: timedelta) -> None:
    await workflow.execute_activity(
        Activity.RUN_TOOL,
        ToolCall(invocation_id, call.id),
        task_queue=queue,
        schedule_to_start_timeout=wait,
        start_to_close_timeout=timedelta(seconds=call.timeout_s) + TOOL_MARGIN,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=CALL_RETRY,
    )


def _may_go_on(error: ActivityError) -> bool:
    """Whether the host did not take the call; not when the call ended its host repeatedly."""
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.type == ErrorType.ELSEWHERE
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


async def give_up(call: GiveUpCall) -> None:
    """Write down that a call could not be run."""
    await workflow.execute_local_activity(
        Activity.GIVE_UP_CALL,
        call,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
