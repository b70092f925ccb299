"""The store transactions at the edges of a turn, as local activities of the session workflow.

Each is idempotent: it may run again after it committed, when the worker died before Temporal heard.
"""

from temporalio import activity

from activities.context import session_key
from activities.tools.catalog import call_ref, shell_seconds
from activities.tools.schemas import SHELL
from activities.tracing import Traces
from contracts.errors import AwsError, ErrorDetail, ErrorType, ServiceError
from contracts.ids import sandbox_queue
from contracts.messages import ToolStatus
from contracts.records import CallRecord, InvocationState
from contracts.tools import ToolKind
from contracts.turn import (
    Activity,
    CallRef,
    CloseTurn,
    GiveUpCall,
    HandOver,
    TurnOpened,
    TurnRequest,
    TurnWaits,
)
from everloop.types import StopReason
from store import Store

#: What the model reads as the result of a call that no sandbox host could run.
UNREACHABLE = (
    "Error: the call could not be completed: the machine that runs this session's environment"
    "{named} did not answer, or the call ended it repeatedly. It may have had a partial effect; it "
    "is not run again by itself."
)
#: Follows `UNREACHABLE` when the machine is known to be dead.
_FILES_THERE = (
    " The session's files are there, and no other machine has them: tools work again when that "
    "machine does."
)
#: The same of a call whose agent was ended from outside.
AGENT_STOPPED = (
    "Error: the agent was stopped before it had a result. It may have had a partial effect; it is "
    "not run again by itself."
)


class TurnActivities:
    """Opens, hands over and closes turns in the store."""

    def __init__(self, store: Store, traces: Traces | None = None) -> None:
        """Work on a store.

        Args:
            store: what is worked on.
            traces: where spans of invocations go; nowhere when omitted.
        """
        self._store = store
        self._traces = traces or Traces(store)

    @activity.defn(name=Activity.OPEN_TURN)
    async def open_turn(self, request: TurnRequest) -> TurnOpened:
        """Bring an invocation's messages into the transcript, or refuse them.

        Args:
            request: names the invocation.

        Returns:
            What the workflow needs to run it.
        """
        turns = self._store.turns
        opening = await turns.open(session_key(), request.invocation_id)
        if opening.state is not InvocationState.OPEN:
            if opening.state is InvocationState.REFUSED:
                await self._traces.invocation_over(session_key(), request.invocation_id)
            standing = await self._store.decisions.standing(session_key())
            waiting = standing.waiting or await self._store.calls.pending(session_key())
            reply_to = await self._listeners(request.invocation_id)
            return TurnOpened(runs=False, waiting=bool(waiting), reply_to=reply_to)
        if opening.waiting:
            await turns.close(
                session_key(), request.invocation_id, stop_reason=StopReason.TOOL_USE, error=None
            )
            await self._traces.invocation_over(session_key(), request.invocation_id)
            return TurnOpened(runs=False, waiting=True)
        config = opening.config.config
        reply_to = await self._listeners(request.invocation_id) if opening.resumes else ()
        return TurnOpened(
            runs=True,
            seq=opening.seq,
            calls=tuple(_due(call) for call in opening.todo),
            max_iterations=config.max_iterations,
            max_tokens=config.max_tokens,
            timeout_s=config.timeout_seconds,
            reply_to=reply_to,
        )

    @activity.defn(name=Activity.TURN_WAITS)
    async def turn_waits(self, turn: TurnWaits) -> tuple[str, ...]:
        """Write down that a turn only waits for people below, or not any more.

        Returns:
            The workflows that wait for the end of the turn.
        """
        await self._store.turns.waits_below(session_key(), turn.invocation_id, turn.waits)
        return await self._listeners(turn.invocation_id)

    @activity.defn(name=Activity.HAND_OVER)
    async def hand_over(self, hand_over: HandOver) -> None:
        """Mark calls as waiting for the caller and show them."""
        await self._store.turns.hand_over(session_key(), hand_over.invocation_id)

    @activity.defn(name=Activity.FIND_HOST)
    async def find_host(self) -> str | None:
        """Find which sandbox host has the session now; another takes it over when it is dead.

        Returns:
            Its task queue; None when there is none.
        """
        try:
            host = await self._store.environments.assign(session_key(), None)
        except ServiceError as missing:
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
            return None
        return None if host is None else sandbox_queue(host)

    @activity.defn(name=Activity.GIVE_UP_CALL)
    async def give_up_call(self, call: GiveUpCall) -> None:
        """Write down that a call could not be run, and by whom."""
        text = AGENT_STOPPED if call.why == "agent_stopped" else await self._unreachable()
        await self._store.calls.finish(
            session_key(), call.tool_use_id, status=ToolStatus.ERROR, content=(text,)
        )

    async def _unreachable(self) -> str:
        host = await self._store.environments.host_of(session_key())
        text = UNREACHABLE.format(named="" if host is None else f" (sandbox host {host!r})")
        if host is not None and host not in await self._store.environments.alive():
            text += _FILES_THERE
        return text

    @activity.defn(name=Activity.CLOSE_TURN)
    async def close_turn(self, end: CloseTurn) -> tuple[str, ...]:
        """Settle what is left of a turn and write its end into the log.

        Returns:
            The workflows that wait for the end of the turn.
        """
        error = None
        if end.error is not None:
            error = await self._error(end.invocation_id, end.error)
        try:
            await self._store.turns.close(
                session_key(), end.invocation_id, stop_reason=end.stop_reason, error=error
            )
        except ServiceError as missing:
            # Deleted meanwhile, or never admitted: there is nothing that could be closed, ever.
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
        else:
            await self._traces.invocation_over(session_key(), end.invocation_id)
        return await self._listeners(end.invocation_id)

    async def _listeners(self, invocation_id: str) -> tuple[str, ...]:
        return await self._store.runs.listeners(session_key(), invocation_id)

    async def _error(self, invocation_id: str, kind: str) -> ErrorDetail:
        noted = await self._store.turns.failure_note(session_key(), invocation_id)
        if kind in (ErrorType.MODEL_REFUSED, ErrorType.MODEL_UNAVAILABLE):
            return ErrorDetail(AwsError.RUNTIME_CLIENT, noted or "The model call failed.")
        return ErrorDetail(
            AwsError.INTERNAL,
            f"The turn could not be completed ({kind}). The session can go on.",
        )


def _due(call: CallRecord) -> CallRef:
    """A stored call that is to run, as the workflow knows it."""
    seconds = call.timeout_s
    if call.name == SHELL.name and call.kind is ToolKind.SANDBOX:
        # A decider may have changed the arguments, and with them the time that the command has.
        seconds = max(seconds, shell_seconds(call.input))
    return call_ref(call.id, call.kind, call.runner, seconds)
