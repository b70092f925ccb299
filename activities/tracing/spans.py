"""The spans of agents: one an invocation, and under it one a model call and one a tool call.

The invocation's span is nobody's to hold: its turn runs in many processes, and any may die. Its ids
follow from its name, so each model call and tool call names it as parent, wherever it runs; and the
activity that closes the turn sends it, once more with the same ids and times should that activity
run again. A model call or tool call is an ordinary span of the attempt that made it.

Where tracing is not configured nothing is read and nothing made. Words that were said are left out,
but where an operator asked for them.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from activities.tracing import attributes, content
from contracts.errors import ErrorType, ModelFailed, StaleAttempt
from contracts.harness import RunConfig
from contracts.messages import Message, StopReason, TokenUsage, ToolStatus
from contracts.records import CallRecord, InvocationRecord
from contracts.tracing import TraceContext, agent_span_id, own_trace_id
from store import Store

if TYPE_CHECKING:
    from activities.tracing.export import Exporter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChatSpan:
    """The span of a model call."""

    def __init__(self, span: Span, with_content: bool) -> None:
        """Write to a span."""
        self._span = span
        self._with_content = with_content

    def asked(self, system: Sequence[str], conversation: Sequence[Message]) -> None:
        """Keep what the model reads, where content is asked for."""
        if self._with_content:
            self._span.set_attribute(
                "gen_ai.system_instructions", content.instructions_text(system)
            )
            self._span.set_attribute("gen_ai.input.messages", content.messages_text(conversation))

    def answered(self, message: Message, stop_reason: StopReason, usage: TokenUsage) -> None:
        """Keep how the model stopped and what it used."""
        self._span.set_attributes(attributes.finish_reasons(stop_reason))
        self._span.set_attributes(attributes.usage(usage))
        if self._with_content:
            self._span.set_attribute("gen_ai.output.messages", content.messages_text([message]))


class ToolSpan:
    """The span of a tool call."""

    def __init__(self, span: Span, with_content: bool) -> None:
        """Write to a span."""
        self._span = span
        self._with_content = with_content
        self.elsewhere = False

    def ended(self, status: ToolStatus, text: str) -> None:
        """Keep how the call went."""
        if status is ToolStatus.ERROR:
            _failed(self._span, "tool_error")
        if self._with_content:
            self._span.set_attribute("gen_ai.tool.call.result", content.result_text(text))

    def ended_elsewhere(self) -> None:
        """Another attempt has the outcome, and the span."""
        self.elsewhere = True


class Traces:
    """The spans of one process's activities."""

    def __init__(self, store: Store, exporter: "Exporter | None" = None) -> None:
        """Trace, or do not.

        Args:
            store: where invocations are.
            exporter: takes the spans; None makes none.
        """
        self._store = store
        self._exporter = exporter
        self._with_content = exporter is not None and exporter.with_content

    async def invocation_over(self, session: str, invocation_id: str) -> None:
        """Send an invocation's span, once the store says that it is over."""
        if self._exporter is None:
            return
        invocation = await self._store.turns.invocation(session, invocation_id)
        if invocation is None or invocation.ended_at is None:
            return
        run = await self._store.turns.config(session, invocation_id)
        span = self._agent(self._exporter, invocation, run)
        span.set_attributes(attributes.agent_ended(invocation))
        span.set_attributes(attributes.finish_reasons(invocation.stop_reason))
        if invocation.error is not None:
            _failed(span, invocation.error.error.value)
        span.end(end_time=_nanoseconds(invocation.ended_at))

    @asynccontextmanager
    async def chat(
        self, session: str, invocation_id: str, run: RunConfig, *, step: int, attempt: int
    ) -> AsyncGenerator[ChatSpan]:
        """Span one model call, however it ends.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs.
            run: what it runs with.
            step: which of its model calls this is.
            attempt: which try of the step.
        """
        span = await self._child(
            session,
            invocation_id,
            run,
            f"chat {run.config.model.chosen.model_id}",
            SpanKind.CLIENT,
            attributes.chat_started(session, invocation_id, run, step, attempt),
        )
        try:
            yield ChatSpan(span, self._with_content)
        except BaseException as error:
            _failed(span, _code(error))
            raise
        finally:
            span.end()

    @asynccontextmanager
    async def tool(
        self, invocation_id: str, call: CallRecord, run: RunConfig
    ) -> AsyncGenerator[ToolSpan]:
        """Span one tool call, however it ends.

        Args:
            invocation_id: the invocation that runs, which need not be the one that asked.
            call: the call.
            run: what the invocation runs with.
        """
        span = await self._child(
            call.session,
            invocation_id,
            run,
            f"execute_tool {call.name}",
            SpanKind.INTERNAL,
            attributes.tool_started(call.session, invocation_id, run, call),
        )
        tool = ToolSpan(span, self._with_content)
        if self._with_content:
            span.set_attribute("gen_ai.tool.call.arguments", content.arguments_text(call.input))
        try:
            yield tool
        except BaseException as error:
            _failed(span, _code(error))
            raise
        finally:
            # A span that never ends is never sent.
            if not tool.elsewhere:
                span.end()

    async def _child(
        self,
        session: str,
        invocation_id: str,
        run: RunConfig,
        name: str,
        kind: SpanKind,
        started: attributes.Attributes,
    ) -> Span:
        if self._exporter is None:
            return INVALID_SPAN
        invocation = await self._store.turns.invocation(session, invocation_id)
        if invocation is None:
            return INVALID_SPAN
        # Never ended, so never sent: it tells what the sampler says of the invocation.
        agent = self._agent(self._exporter, invocation, run).get_span_context()
        parent = SpanContext(
            agent.trace_id, agent.span_id, True, agent.trace_flags, agent.trace_state
        )
        return self._exporter.start(name, kind, started, parent=_within(parent))

    def _agent(self, exporter: "Exporter", invocation: InvocationRecord, run: RunConfig) -> Span:
        session, invocation_id = invocation.session, invocation.invocation_id
        return exporter.start(
            attributes.agent_name(run),
            SpanKind.INTERNAL,
            attributes.agent_started(session, invocation_id, run),
            parent=_within(_callers(invocation.trace)) if invocation.trace else Context(),
            ids=(own_trace_id(session, invocation_id), agent_span_id(session, invocation_id)),
            start_ns=_nanoseconds(invocation.created_at),
        )


def _callers(trace: TraceContext) -> SpanContext:
    return SpanContext(
        trace.trace_id,
        trace.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([trace.tracestate]) if trace.tracestate else None,
    )


def _within(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _failed(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def _code(error: BaseException) -> str:
    """Why something failed, as a code: the words of an error may be the conversation's."""
    if isinstance(error, ModelFailed):
        return error.fault.value
    if isinstance(error, StaleAttempt):
        return ErrorType.STALE_ATTEMPT.value
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return type(error).__name__


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
