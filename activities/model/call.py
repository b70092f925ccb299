"""The activity that makes one model call and leaves its answer in the store.

It may run again at any point: a step that was settled is returned as it is, and a writer that was
overtaken by a later attempt stops. History gets the place of the answer, never its words, and codes
of failures, never a provider's text; that text goes to the store, for whoever invoked the harness.
"""

import asyncio
import logging
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from functools import partial

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.context import heartbeats, session_key
from activities.model import attempts, gateway
from activities.model.assemble import Assembler, Settled
from activities.model.checks import refusal
from activities.model.failures import judge
from activities.model.keys import access_for
from activities.model.malformed import as_end, ends_turn
from activities.model.mapping import Target, plain, target_of
from activities.model.output import TAKEN, reminded, state_of_new, state_of_settled
from activities.model.summary import make_room, shown_with_summary
from activities.model.translate import Json, messages_for, tools_for
from activities.model.window import shown
from activities.model.writer import DeltaWriter
from activities.tools.approval import look
from activities.tools.catalog import ToolCatalog, call_ref
from activities.tracing import ChatSpan, Traces
from contracts.errors import ErrorType, ModelFailed, ModelFault, ServiceError, StaleAttempt
from contracts.events import BlockDelta
from contracts.harness import RunConfig
from contracts.messages import Message, StopReason, TextBlock, TokenUsage, ToolUseBlock
from contracts.records import NewCall, StepRecord
from contracts.settings import Settings
from contracts.tools import CallState, ToolKind, ToolSpec
from contracts.turn import Activity, ModelCall, ModelReply, OutputState
from store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Step:
    """The step that is written, and by which attempt."""

    session: str
    invocation_id: str
    step: int
    attempt: int


class ModelCalls:
    """Calls models for the session workflow."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        catalog: ToolCatalog,
        env: Mapping[str, str] = os.environ,
        traces: Traces | None = None,
    ) -> None:
        """Prepare to call models.

        Args:
            store: where transcripts are read and answers left.
            settings: where the demo model is, and the default region.
            catalog: which tools an invocation offers, and who runs them.
            env: the worker's environment, which holds the providers' keys.
            traces: where spans of model calls go; nowhere when omitted.
        """
        self._store = store
        self._settings = settings
        self._catalog = catalog
        self._env = env
        self._traces = traces or Traces(store)

    @activity.defn(name=Activity.CALL_MODEL)
    async def call_model(self, call: ModelCall) -> ModelReply:
        """Make one model call.

        Args:
            call: names the step.

        Returns:
            Where the answer is, and the tool calls to see to.

        Raises:
            ApplicationError: of a `contracts.errors.ErrorType`, with a `ModelFault` as its detail
                when a provider failed. Retryable or not as that says, and as there were too many.
        """
        session = session_key()
        try:
            return await self._call(session, call)
        except StaleAttempt:
            failure = ApplicationError(
                "a later attempt writes this step",
                type=ErrorType.STALE_ATTEMPT,
                non_retryable=True,
            )
        except ApplicationError as error:
            failure = error
        except Exception as error:
            # Its words may hold parts of the conversation: not for history, nor for the log.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("model call failed: %s\n%s", type(error).__name__, where)
            failure = ApplicationError("a part of the worker failed", type=ErrorType.MACHINERY)
        raise attempts.counted(failure)

    async def _call(self, session: str, call: ModelCall) -> ModelReply:
        start, run = await asyncio.gather(
            self._store.turns.begin_step(session, call.invocation_id, call.step),
            self._store.turns.config(session, call.invocation_id),
        )
        if start.settled is not None:
            return _reply_again(run, start.settled)
        budget = run.config.extensions.budget
        if budget is not None:
            met = await self._store.budgets.meet(session, call.invocation_id, call.step, budget)
            if met is not None:
                return ModelReply(start.seq, met, 0)
        step = _Step(session, call.invocation_id, call.step, start.attempt)
        began = time.monotonic()
        try:
            async with heartbeats(attempts.errors_before()):
                step, settled = await self._answer(step, run, start.seq)
        except ModelFailed as failed:
            await self._store.turns.note_failure(session, call.invocation_id, str(failed))
            raise attempts.told(failed) from None
        return await self._commit(step, run, settled, round((time.monotonic() - began) * 1000))

    async def _answer(self, step: _Step, run: RunConfig, seq: int) -> tuple[_Step, Settled]:
        """Ask the model, and again with a summary for as long as it can read less only."""
        truncation = run.config.truncation
        while True:
            if truncation.summarization:
                conversation = await shown_with_summary(self._store, step.session, upto_seq=seq)
            else:
                conversation = await shown(
                    self._store, step.session, upto_seq=seq, limit=truncation.window
                )
            try:
                return step, await self._ask(step, run, conversation)
            except ModelFailed as failed:
                if failed.fault is not ModelFault.CONTEXT_WINDOW:
                    raise
            if truncation.summarization is None or not await make_room(
                self._store,
                step.session,
                upto_seq=seq,
                how=truncation.summarization,
                ask=partial(self._ask_for_summary, step, run),
            ):
                return step, _overflow()
            # A new attempt takes back what of the first answer was written.
            again = await self._store.turns.begin_step(step.session, step.invocation_id, step.step)
            step = replace(step, attempt=again.attempt)

    async def _ask(self, step: _Step, run: RunConfig, conversation: Sequence[Message]) -> Settled:
        if run.output is not None:
            conversation = reminded(conversation)
        system = [block.text for block in run.config.system_prompt]
        async with self._span(step, run) as chat:
            chat.asked(system, conversation)
            settled = await self._answered(step, run, system, conversation)
            chat.answered(settled.message, settled.stop_reason, settled.usage)
        return settled

    def _span(self, step: _Step, run: RunConfig) -> AbstractAsyncContextManager[ChatSpan]:
        return self._traces.chat(
            step.session, step.invocation_id, run, step=step.step, attempt=step.attempt
        )

    async def _answered(
        self, step: _Step, run: RunConfig, system: Sequence[str], conversation: Sequence[Message]
    ) -> Settled:
        target, secrets = await self._target(run)
        messages, target = messages_for(target, system, conversation)
        offered = self._catalog.offered(run)
        tools = tools_for(target, offered, conversation)
        settled = await self._stream(step, target, messages, tools, secrets)
        if ends_turn(settled, conversation, offered):
            settled = as_end(settled)
        return replace(settled, cost_pico_usd=gateway.price(target, settled.usage))

    async def _ask_for_summary(
        self, step: _Step, run: RunConfig, prompt: str, text: str
    ) -> Settled:
        asked = Message(role="user", blocks=(TextBlock(text=text),))
        async with self._span(step, run) as chat:
            chat.asked((prompt,), (asked,))
            target, secrets = await self._target(run)
            target = plain(target)
            messages, target = messages_for(target, (prompt,), (asked,))
            settled = await self._read(target, messages, (), secrets)
            chat.answered(settled.message, settled.stop_reason, settled.usage)
        return replace(settled, cost_pico_usd=gateway.price(target, settled.usage))

    async def _target(self, run: RunConfig) -> tuple[Target, Mapping[str, str]]:
        """Where the call goes, and what must be taken out of whatever comes back as text."""
        access = await access_for(run.config.model, self._store, self._settings, self._env)
        try:
            return target_of(run.config.model, self._settings, access), access.secrets()
        except ServiceError as error:
            raise judge(error, access.secrets()) from error

    async def _read(
        self,
        target: Target,
        messages: Sequence[Json],
        tools: Sequence[Json],
        secrets: Mapping[str, str],
        put: Callable[[BlockDelta], Awaitable[None]] | None = None,
    ) -> Settled:
        """Read a provider's stream to its end; pieces go to `put` as they come."""
        assembler = Assembler(target)
        try:
            async with aclosing(gateway.stream(target, messages, tools)) as chunks:
                async for chunk in chunks:
                    if (piece := assembler.add(chunk)) is not None and put is not None:
                        await put(piece)
        except Exception as error:
            raise judge(error, secrets) from error
        return assembler.settle()

    async def _stream(
        self,
        step: _Step,
        target: Target,
        messages: Sequence[Json],
        tools: Sequence[Json],
        secrets: Mapping[str, str],
    ) -> Settled:
        """Read the provider's stream while the log is written."""

        async def append(index: int, pieces: Sequence[BlockDelta]) -> None:
            await self._store.turns.append(
                step.session, step.invocation_id, step.step, step.attempt, index, pieces
            )

        writer = DeltaWriter(append)
        reading = asyncio.create_task(self._read(target, messages, tools, secrets, writer.put))
        writing = asyncio.create_task(writer.run())
        tasks = (reading, writing)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {reading}:
                task.result()
            return reading.result()
        finally:
            writer.stop()
            reading.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _commit(
        self, step: _Step, run: RunConfig, settled: Settled, latency_ms: int
    ) -> ModelReply:
        offered = self._catalog.offered(run)
        calls = [
            await self._new_call(step.session, run, use, offered, settled.failures.get(use.id))
            for use in settled.message.tool_uses
        ]
        settled, summaries = await self._with_summaries(step, run, settled)
        seq = await self._store.turns.commit_step(
            step.session,
            step.invocation_id,
            step.step,
            step.attempt,
            message=settled.message,
            calls=calls,
            usage=settled.usage,
            latency_ms=latency_ms,
            model_id=run.config.model.chosen.model_id,
            cost_pico_usd=settled.cost_pico_usd,
            summaries=summaries,
        )
        return ModelReply(
            seq=seq,
            stop_reason=settled.stop_reason,
            output_tokens=settled.usage.output_tokens,
            calls=tuple(
                call_ref(
                    call.block.id, call.kind, None if call.gate else call.queue, call.timeout_s
                )
                for call in calls
                if call.failure is None and call.outcome is None
            ),
            output=state_of_new(calls, settled.stop_reason) if run.output else OutputState.NONE,
        )

    async def _with_summaries(
        self, step: _Step, run: RunConfig, settled: Settled
    ) -> tuple[Settled, tuple[int, ...]]:
        """The answer with what the summaries before it used, by whichever attempt."""
        if run.config.truncation.summarization is None:
            return settled, ()
        made = await self._store.summaries.uncounted(step.session)
        usage, cost = settled.usage, settled.cost_pico_usd
        for summary in made:
            usage += summary.usage
            if cost is not None:
                more = summary.cost_pico_usd
                cost = None if more is None else cost + more
        counted = tuple(summary.upto_seq for summary in made)
        return replace(settled, usage=usage, cost_pico_usd=cost), counted

    async def _new_call(
        self,
        session: str,
        run: RunConfig,
        use: ToolUseBlock,
        offered: Sequence[ToolSpec],
        failure: str | None,
    ) -> NewCall:
        failure = failure or refusal(use, offered)
        spec = next((spec for spec in offered if spec.name == use.name), None)
        if spec is None or failure is not None:
            kind = spec.kind if spec else None
            return NewCall(block=use, kind=kind, queue=None, timeout_s=0, failure=failure)
        if spec.kind is ToolKind.OUTPUT:
            return NewCall(block=use, kind=spec.kind, queue=None, timeout_s=0, outcome=TAKEN)
        passes = look(run.config.extensions.approvals, spec, use.input)
        return NewCall(
            block=use,
            kind=spec.kind,
            queue=await self._catalog.queue_for(session, spec),
            timeout_s=self._catalog.timeout_for(spec, use.input),
            failure=passes.failure,
            gate=passes.gate,
        )


def _overflow() -> Settled:
    stop_reason = StopReason.MODEL_CONTEXT_WINDOW_EXCEEDED
    message = Message(role="assistant", blocks=(), stop_reason=stop_reason)
    # Providers do not charge for a request that they refuse.
    return Settled(message, stop_reason, TokenUsage(), {}, cost_pico_usd=0)


def _reply_again(run: RunConfig, settled: StepRecord) -> ModelReply:
    output = OutputState.NONE
    if run.output is not None:
        output = state_of_settled(settled.calls, settled.stop_reason)
    return ModelReply(
        seq=settled.seq,
        stop_reason=settled.stop_reason,
        output_tokens=settled.usage.output_tokens,
        calls=tuple(
            call_ref(call.id, call.kind, call.runner, call.timeout_s)
            for call in settled.calls
            if call.state in (CallState.REQUESTED, CallState.WAITING)
        ),
        output=output,
    )
