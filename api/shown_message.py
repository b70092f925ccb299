"""An assistant message as a client has it so far: live pieces first, then the settled rest.

Blocks go out one after the other under ascending indices, because clients keep one block open at a
time. Text, thoughts and tool arguments go out as they come; signatures and redacted thoughts only
whole. When the settled message is not a continuation of what was sent, `finish` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from api.frames import Frame, block_delta, block_start, block_stop, message_start
from contracts.events import BlockDelta
from contracts.messages import Block, Message, ReasoningBlock, TextBlock, ToolUseBlock


@dataclass(frozen=True)
class _Content:
    """What one block holds, whether streamed or settled, in the terms of `BlockDelta`."""

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    redacted: str = ""
    tool_use_id: str = ""
    tool_name: str = ""
    input: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing that a client could be shown."""
        return not (
            self.text or self.reasoning or self.signature or self.redacted or self.tool_use_id
        )

    def continues(self, sent: "_Content") -> bool:
        """Whether this is what was sent, and perhaps more of it at its end."""
        return (
            self.text.startswith(sent.text)
            and self.reasoning.startswith(sent.reasoning)
            and self.input.startswith(sent.input)
            and sent.signature in ("", self.signature)
            and sent.redacted in ("", self.redacted)
            and sent.tool_use_id in ("", self.tool_use_id)
            and sent.tool_name in ("", self.tool_name)
        )


class ShownMessage:
    """One assistant message on its way to a client.

    Attributes:
        step: the step that makes it.
        attempt: the attempt at that step.
    """

    def __init__(self, step: int, attempt: int) -> None:
        """Begin a message; `start` sends its first frame."""
        self.step = step
        self.attempt = attempt
        self._sent: list[list[BlockDelta]] = []
        self._open: int | None = None
        self._held: list[BlockDelta] = []
        self._log_block = -1

    def start(self) -> list[Frame]:
        """The frame that opens the message."""
        return [message_start("assistant")]

    def add(self, piece: BlockDelta) -> list[Frame]:
        """Show a piece that streamed in; one of a block before the newest waits for `finish`."""
        if piece.block < self._log_block:
            return []
        frames: list[Frame] = []
        if piece.block > self._log_block:
            frames += self.close_block()
            self._log_block = piece.block
        if piece.signature or piece.redacted:
            self._held.append(piece)
            return frames
        return frames + self._send(piece)

    def close_block(self) -> list[Frame]:
        """Send what was held back of the open block, and stop it as complete."""
        held = _join(self._held)
        self._held = []
        frames = self._send_rest(_Content(signature=held.signature, redacted=held.redacted))
        if self._open is not None:
            content = _join(self._sent[self._open])
            if content.tool_use_id and not content.input:
                frames += self._send(BlockDelta(block=0, input="{}"))
        return frames + self.break_block()

    def break_block(self) -> list[Frame]:
        """Stop the open block as it is."""
        if self._open is None:
            return []
        index, self._open = self._open, None
        return [block_stop(index)]

    def finish(self, message: Message) -> list[Frame] | None:
        """Show what is not yet shown of the settled message, and stop its blocks.

        Returns:
            The frames, or None when the message does not continue what was shown.
        """
        settled = [content for block in message.blocks if not (content := _content(block)).empty]
        sent = [_join(pieces) for pieces in self._sent]
        closed = len(sent) if self._open is None else self._open
        sent += [_Content()] * (len(settled) - len(sent))
        if len(sent) > len(settled):
            return None
        pairs = list(zip(settled, sent, strict=True))
        if not all(whole.continues(part) for whole, part in pairs):
            return None
        if any(_rest(whole, part) for whole, part in pairs[:closed]):
            return None
        self._held = []
        frames: list[Frame] = []
        for whole, part in pairs[closed:]:
            frames += self._send_rest(whole, part)
            frames += self.break_block()
        return frames

    def _send_rest(self, whole: _Content, sent: _Content | None = None) -> list[Frame]:
        frames: list[Frame] = []
        for piece in _rest(whole, sent or _Content()):
            frames += self._send(piece)
        return frames

    def _send(self, piece: BlockDelta) -> list[Frame]:
        """The frames of one piece; opens a block when none is open."""
        deltas = _deltas(piece)
        if not deltas and not piece.tool_use_id:
            return []
        if self._open is None:
            self._open = len(self._sent)
            self._sent.append([])
        index = self._open
        self._sent[index].append(piece)
        frames: list[Frame] = []
        if piece.tool_use_id:
            start = {"toolUseId": piece.tool_use_id, "name": piece.tool_name or ""}
            frames.append(block_start(index, {"toolUse": start}))
        return frames + [block_delta(index, delta) for delta in deltas]


def _deltas(piece: BlockDelta) -> list[dict[str, object]]:
    deltas: list[dict[str, object]] = []
    if piece.text:
        deltas.append({"text": piece.text})
    if piece.reasoning:
        deltas.append({"reasoningContent": {"text": piece.reasoning}})
    if piece.signature:
        deltas.append({"reasoningContent": {"signature": piece.signature}})
    if piece.redacted:
        deltas.append({"reasoningContent": {"redactedContent": piece.redacted}})
    if piece.input:
        deltas.append({"toolUse": {"input": piece.input}})
    return deltas


def _join(pieces: Sequence[BlockDelta]) -> _Content:
    return _Content(
        text="".join(piece.text or "" for piece in pieces),
        reasoning="".join(piece.reasoning or "" for piece in pieces),
        signature="".join(piece.signature or "" for piece in pieces),
        redacted="".join(piece.redacted or "" for piece in pieces),
        tool_use_id="".join(piece.tool_use_id or "" for piece in pieces),
        tool_name="".join(piece.tool_name or "" for piece in pieces),
        input="".join(piece.input or "" for piece in pieces),
    )


def _rest(whole: _Content, sent: _Content) -> list[BlockDelta]:
    """What of a block was not yet sent."""
    pieces: list[BlockDelta] = []
    if whole.tool_use_id and not sent.tool_use_id:
        name = whole.tool_name
        pieces.append(BlockDelta(block=0, tool_use_id=whole.tool_use_id, tool_name=name))
    rest = {
        "text": whole.text[len(sent.text) :],
        "reasoning": whole.reasoning[len(sent.reasoning) :],
        "signature": "" if sent.signature else whole.signature,
        "redacted": "" if sent.redacted else whole.redacted,
        "input": whole.input[len(sent.input) :],
    }
    pieces += [BlockDelta.model_validate({"block": 0, k: v}) for k, v in rest.items() if v]
    return pieces


def _content(block: Block) -> _Content:
    match block:
        case TextBlock():
            return _Content(text=block.text)
        case ReasoningBlock():
            return _Content(
                reasoning=block.text,
                signature=block.signature or "",
                redacted=block.redacted or "",
            )
        case ToolUseBlock():
            return _Content(
                tool_use_id=block.id, tool_name=block.name, input=block.input_text or "{}"
            )
        case _:
            return _Content()
