"""Turns: what happens to a session while an invocation runs, the face of the modules beside it.

Every method is one transaction under the session's lock and may be called again after it committed:
Temporal repeats whatever it did not hear the end of.
"""

from collections.abc import Sequence
from functools import partial

from sqlalchemy.engine import Connection

from contracts.errors import ErrorDetail, TooLarge, invalid
from contracts.events import BlockDelta
from contracts.harness import RunConfig
from contracts.messages import Message, StopReason, TokenUsage
from contracts.records import InvocationRecord, NewCall, Opening, StepStart
from contracts.tracing import TraceContext
from store import closing, handover, invocations, opening, steps
from store.bounds import MAX_DELTA_BYTES, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, check_size
from store.engine import Database
from store.tables import MESSAGE, MESSAGES


class Turns:
    """The turns of all sessions."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def admit(
        self,
        *,
        session: str,
        account: str,
        harness_id: str,
        runtime_session_id: str,
        invocation_id: str,
        request_digest: str,
        config_digest: str,
        messages: Sequence[Message],
        reply_to: str | None = None,
        actor_id: str | None = None,
        trace: TraceContext | None = None,
        called_from: str | None = None,
    ) -> InvocationRecord:
        """Keep an invocation and what it brings, before any workflow hears of it.

        Args:
            session: the session's key; the session begins with its first invocation.
            account: the owner of the harness.
            harness_id: the harness.
            runtime_session_id: the caller's name of the session.
            invocation_id: the idempotency key.
            request_digest: tells whether a repetition asks for the same.
            config_digest: from `Configs.put`.
            messages: the request's messages, together at most `MAX_REQUEST_BYTES` of JSON.
            reply_to: the workflow that is told of its end.
            actor_id: on whose behalf it runs.
            trace: the span in which the caller invoked; that of the first admission counts.
            called_from: the session whose call it runs, when an agent is asked.

        Returns:
            The invocation; when it was admitted before, as it stands now.

        Raises:
            ServiceError: ValidationException, with reason IdempotentParameterMismatchException when
                the id was used for another request; ResourceNotFoundException when the harness is
                deleted meanwhile; ThrottlingException while the session is deleted;
                ConflictException while the calling one is.
            ConfigGone: the configuration must be stored anew.
        """
        try:
            check_size("messages", [MESSAGES.encode(tuple(messages))], MAX_REQUEST_BYTES)
        except TooLarge as error:
            raise invalid("messages", f"must have at most {MAX_REQUEST_BYTES} bytes") from error
        return await self._database.write(
            partial(
                invocations.admit,
                session_key=session,
                account=account,
                harness_id=harness_id,
                runtime_session_id=runtime_session_id,
                invocation_id=invocation_id,
                request_digest=request_digest,
                config_digest=config_digest,
                messages=messages,
                reply_to=reply_to,
                actor_id=actor_id,
                trace=trace,
                called_from=called_from,
            )
        )

    async def invocation(self, session: str, invocation_id: str) -> InvocationRecord | None:
        """An invocation as it stands; None when it was never admitted."""

        def work(connection: Connection) -> InvocationRecord | None:
            row = invocations.get(connection, session, invocation_id)
            return None if row is None else invocations.record(connection, row)

        return await self._database.read(work)

    async def may_be_lost(self, session: str, invocation_id: str) -> bool:
        """Whether an invocation is open and its workflow may not know of it.

        A turn is opened while Temporal takes the update that asks for it. When whoever opens it and
        Temporal both die in that moment, nobody has heard of the update, and it is to be sent
        again; a workflow that knows of it says so. True until the turn's first model call.
        """
        return await self._database.read(
            partial(invocations.may_be_lost, session_key=session, invocation_id=invocation_id)
        )

    async def config(self, session: str, invocation_id: str) -> RunConfig:
        """What an invocation runs with.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.read(
            lambda connection: (
                invocations.find_with_config(connection, session, invocation_id).config
            )
        )

    async def open(self, session: str, invocation_id: str) -> Opening:
        """Begin an invocation's turn, as `contracts.admission.plan_turn` says, or refuse it.

        An invocation that is still open is ended first: one session runs one turn, so that its run
        was stopped from outside. Opening again what is open, ended or refused changes nothing.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.write(
            partial(opening.open_invocation, session_key=session, invocation_id=invocation_id)
        )

    async def begin_step(self, session: str, invocation_id: str, step: int) -> StepStart:
        """Take the right to write a step, and settle tool results that are due.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs.
            step: counts its model calls from 0.

        Returns:
            The attempt to write with; earlier attempts are refused from now on and their deltas are
            gone. Or the step as it was settled before.

        Raises:
            StaleAttempt: the invocation does not run, or is past this step.
            ServiceError: InternalServerException when calls of the step before have no outcome.
        """
        return await self._database.write(
            partial(steps.begin_step, session_key=session, invocation_id=invocation_id, step=step)
        )

    async def append(
        self,
        session: str,
        invocation_id: str,
        step: int,
        attempt: int,
        index: int,
        pieces: Sequence[BlockDelta],
    ) -> None:
        """Write a DELTA row; one with the same index that is already there stays.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs.
            step: the step in flight.
            attempt: from `begin_step`.
            index: counts the rows of this attempt from 0.
            pieces: what arrived, together at most `MAX_DELTA_BYTES` characters.

        Raises:
            StaleAttempt: another attempt has begun, or the step is over.
            TooLarge: the pieces are too long.
        """
        texts = (
            text
            for piece in pieces
            for text in (
                piece.text,
                piece.reasoning,
                piece.signature,
                piece.redacted,
                piece.input,
            )
        )
        check_size("a delta", texts, MAX_DELTA_BYTES)
        await self._database.write(
            partial(
                steps.append,
                session_key=session,
                invocation_id=invocation_id,
                step=step,
                attempt=attempt,
                index=index,
                pieces=pieces,
            ),
            durable=False,
        )

    async def commit_step(
        self,
        session: str,
        invocation_id: str,
        step: int,
        attempt: int,
        *,
        message: Message,
        calls: Sequence[NewCall],
        usage: TokenUsage,
        latency_ms: int,
        model_id: str,
        cost_pico_usd: int | None = None,
        summaries: tuple[int, ...] = (),
    ) -> int:
        """Settle a step: its message joins the transcript, its deltas go.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs.
            step: the step in flight.
            attempt: from `begin_step`.
            message: the assistant message, at most `MAX_MESSAGE_BYTES` of JSON.
            calls: its tool calls, in its order.
            usage: tokens that the model call used.
            latency_ms: how long the model took.
            model_id: which model it was.
            cost_pico_usd: what the call cost; None when its price is not known.
            summaries: `upto_seq` of the summaries whose making `usage` and cost include.

        Returns:
            The message's seq; the same when the attempt settled the step before.

        Raises:
            StaleAttempt: another attempt has begun, or settled the step, or the invocation is over.
            TooLarge: the message is too long.
        """
        check_size("an assistant message", [MESSAGE.encode(message)], MAX_MESSAGE_BYTES)
        return await self._database.write(
            partial(
                steps.commit_step,
                session_key=session,
                invocation_id=invocation_id,
                step=step,
                attempt=attempt,
                spoken=message,
                calls=calls,
                usage=usage,
                latency_ms=latency_ms,
                model_id=model_id,
                cost_pico_usd=cost_pico_usd,
                summaries=summaries,
            )
        )

    async def hand_over(self, session: str, invocation_id: str) -> None:
        """Let the caller's own calls wait for the caller, and settle the others' results.

        When results went over the stream after the assistant message, a HANDOVER row tells which
        calls wait. Does nothing once the invocation is over.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        await self._database.write(
            partial(handover.hand_over_calls, session_key=session, invocation_id=invocation_id)
        )

    async def close(
        self,
        session: str,
        invocation_id: str,
        *,
        stop_reason: StopReason | None,
        error: ErrorDetail | None,
    ) -> None:
        """End an invocation, once; see `store.closing` for what becomes of its calls.

        Args:
            session: the session's key.
            invocation_id: which; one that never began is refused instead.
            stop_reason: how it ended; TOOL_USE leaves calls waiting for the caller.
            error: why it failed; then there is no stop reason.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        await self._database.write(
            partial(
                closing.close,
                session_key=session,
                invocation_id=invocation_id,
                stop_reason=stop_reason,
                error=error,
            )
        )

    async def waits_below(self, session: str, invocation_id: str, waits: bool) -> None:
        """Write down whether a running turn only waits for agents that wait for people.

        Args:
            session: the session's key.
            invocation_id: whose turn; one that is not open stays as it is.
            waits: whether it does.
        """
        await self._database.update(
            partial(
                invocations.mark_waits_below,
                session_key=session,
                invocation_id=invocation_id,
                waits=waits,
            )
        )

    async def note_failure(self, session: str, invocation_id: str, note: str) -> None:
        """Keep what a provider said about a model call that failed, for the end of the turn.

        Args:
            session: the session's key.
            invocation_id: which.
            note: bounded text without secrets; a later note replaces it.
        """
        await self._database.update(
            partial(
                invocations.note_failure,
                session_key=session,
                invocation_id=invocation_id,
                note=note,
            )
        )

    async def failure_note(self, session: str, invocation_id: str) -> str | None:
        """What was noted last; None when nothing was.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        return await self._database.read(
            lambda connection: invocations.find(connection, session, invocation_id).failure_note
        )
