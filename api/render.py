"""A session's event log as an InvokeHarness stream: a pure state machine over the log's rows.

The order of frames is AWS's as observed: `messageStart`, blocks, `messageStop`, and after each
model call `metadata`; tool results as a message of role user. What a lower attempt said and a
higher one says anew closes with `interrupted` and opens again: nothing is silently repeated. A row
that was compacted away changes what is sent when, never the texts.
"""

import json
from collections.abc import Sequence

from api.frames import (
    RESULT_PIECE,
    Frame,
    block_delta,
    block_start,
    block_stop,
    message_start,
    message_stop,
    metadata,
    stream_error,
)
from api.shown_message import ShownMessage
from contracts.errors import AwsError
from contracts.events import (
    NO_STEP,
    Delta,
    Ended,
    Event,
    Handover,
    Opened,
    Refused,
    Results,
    Settled,
)
from contracts.messages import Message, StopReason, ToolStatus, ToolUseBlock
from contracts.records import CallRecord


class Renderer:
    """Turns the rows of one invocation, from its first, into frames.

    Attributes:
        ended: whether the invocation's last row has been rendered.
    """

    def __init__(self) -> None:
        """Begin at the invocation's first row."""
        self.ended = False
        self._shown: ShownMessage | None = None
        self._settled_step = -1
        self._last_stop: StopReason | None = None

    def feed(
        self, event: Event, message: Message | None = None, calls: Sequence[CallRecord] = ()
    ) -> list[Frame]:
        """The frames that a row adds.

        Args:
            event: the row; rows come in the order of their cursors.
            message: for a MESSAGE row, the settled message.
            calls: for a RESULTS or HANDOVER row, its calls in the row's order.
        """
        payload = event.payload
        match payload:
            case Opened():
                return []
            case Refused():
                self.ended = True
                return [
                    stream_error(payload.error, payload.message, payload.reason, payload.fields)
                ]
            case Delta():
                return self._delta(event, payload)
            case Settled():
                assert message is not None
                return self._settle(event, payload, message)
            case Results():
                return self._interrupt() + self._results(calls)
            case Handover():
                return self._interrupt() + self._handover(calls)
            case Ended():
                return self._end(payload)

    def _delta(self, event: Event, delta: Delta) -> list[Frame]:
        shown = self._shown
        if event.step <= self._settled_step or (shown and _before(event, shown)):
            return []
        frames = self._show(event)
        assert self._shown is not None
        for piece in delta.pieces:
            frames += self._shown.add(piece)
        return frames

    def _settle(self, event: Event, settled: Settled, message: Message) -> list[Frame]:
        if event.step <= self._settled_step:
            return []
        frames = self._show(event)
        assert self._shown is not None
        rest = self._shown.finish(message)
        if rest is None:
            frames += self._interrupt()
            frames += self._show(event)
            rest = self._shown.finish(message) or []
        self._shown = None
        self._settled_step = event.step
        frames += rest
        frames += self._stop(message.stop_reason or StopReason.END_TURN)
        return [*frames, metadata(settled.usage, settled.latency_ms)]

    def _show(self, event: Event) -> list[Frame]:
        """Have the message of the row's step and attempt open."""
        shown = self._shown
        if shown and (shown.step, shown.attempt) == (event.step, event.attempt):
            return []
        frames = self._interrupt()
        self._shown = ShownMessage(event.step, event.attempt)
        return frames + self._shown.start()

    def _interrupt(self) -> list[Frame]:
        return self._close(StopReason.INTERRUPTED) if self._shown else []

    def _close(self, reason: StopReason) -> list[Frame]:
        assert self._shown is not None
        frames = self._shown.break_block()
        self._shown = None
        return frames + self._stop(reason)

    def _stop(self, reason: StopReason) -> list[Frame]:
        self._last_stop = reason
        return [message_stop(reason)]

    def _results(self, calls: Sequence[CallRecord]) -> list[Frame]:
        frames = [message_start("user")]
        for index, call in enumerate(calls):
            status = (call.status or ToolStatus.SUCCESS).value
            start = {"toolUseId": call.id, "status": status}
            frames.append(block_start(index, {"toolResult": start}))
            frames += [
                block_delta(index, {"toolResult": [{"text": text[at : at + RESULT_PIECE]}]})
                for text in call.content
                for at in range(0, len(text), RESULT_PIECE)
            ]
            frames.append(block_stop(index))
        return frames + self._stop(StopReason.TOOL_RESULT)

    def _handover(self, calls: Sequence[CallRecord]) -> list[Frame]:
        shown = ShownMessage(NO_STEP, 0)
        blocks = tuple(
            ToolUseBlock(id=call.id, name=call.name, input_text=json.dumps(call.input))
            for call in calls
        )
        frames = shown.start() + (shown.finish(Message(role="assistant", blocks=blocks)) or [])
        return frames + self._stop(StopReason.TOOL_USE)

    def _end(self, ended: Ended) -> list[Frame]:
        self.ended = True
        if ended.error is not None or ended.stop_reason is None:
            error = ended.error or AwsError.INTERNAL
            return [stream_error(error, ended.message or "The invocation failed.")]
        if self._shown:
            return self._close(ended.stop_reason)
        if self._last_stop is ended.stop_reason:
            return []
        return self._stop(ended.stop_reason)


def _before(event: Event, shown: ShownMessage) -> bool:
    return (event.step, event.attempt) < (shown.step, shown.attempt)
