"""A strict client of the InvokeHarness stream: it reads as AWS's clients do and trusts nothing."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.api.oracle import read_events


@dataclass
class Block:
    """A block as its deltas add up."""

    start: dict[str, Any]
    text: str = ""
    reasoning: str = ""
    signature: str = ""
    redacted: bytes = b""
    input: str = ""
    results: list[str] = field(default_factory=list[str])


@dataclass
class Told:
    """A message of the stream."""

    role: str
    blocks: list[Block] = field(default_factory=list[Block])
    stop: str | None = None
    usage: dict[str, int] | None = None

    @property
    def text(self) -> str:
        return "".join(block.text for block in self.blocks)


def read(data: bytes) -> list[Told]:
    """The messages of a stream without errors; a bare messageStop ends the last one anew."""
    return assemble(read_events("bedrock-agentcore", "InvokeHarness", data))


def assemble(events: list[dict[str, Any]]) -> list[Told]:
    messages: list[Told] = []
    current: Told | None = None
    block: int | None = None
    for event in events:
        ((name, payload),) = event.items()
        match name:
            case "messageStart":
                assert current is None, "a message began within another"
                current = Told(payload["role"])
                messages.append(current)
            case "contentBlockStart":
                assert current is not None and block is None
                block = _open(current, payload["contentBlockIndex"], payload["start"])
            case "contentBlockDelta":
                assert current is not None
                if block is None:
                    block = _open(current, payload["contentBlockIndex"], {})
                assert payload["contentBlockIndex"] == block
                _add(current.blocks[block], payload["delta"])
            case "contentBlockStop":
                assert payload["contentBlockIndex"] == block
                block = None
            case "messageStop":
                assert block is None, "a message ended with a block open"
                messages[-1].stop = payload["stopReason"]
                current = None
            case "metadata":
                assert current is None and messages[-1].role == "assistant"
                messages[-1].usage = payload["usage"]
            case _:
                raise AssertionError(f"unexpected {name}")
    return messages


def _open(message: Told, index: int, start: dict[str, Any]) -> int:
    assert index == len(message.blocks), "indices must be unique and ascend from 0"
    message.blocks.append(Block(start))
    return index


def _add(block: Block, delta: dict[str, Any]) -> None:
    ((kind, content),) = delta.items()
    match kind:
        case "text":
            assert content
            block.text += content
        case "toolUse":
            assert content["input"]
            block.input += content["input"]
        case "toolResult":
            assert "toolResult" in block.start
            block.results += [piece["text"] for piece in content]
        case "reasoningContent":
            block.reasoning += content.get("text", "")
            block.redacted += content.get("redactedContent", b"")
            if "signature" in content:
                assert not block.signature, "a signature comes whole"
                block.signature = content["signature"]
        case _:
            raise AssertionError(f"unexpected delta {kind}")


def described(block: Block) -> tuple[Any, ...]:
    """What a block says, to be compared."""
    tool = block.start.get("toolUse")
    if tool is not None:
        return ("tool", tool["toolUseId"], tool["name"], json.loads(block.input))
    if block.reasoning or block.signature or block.redacted:
        return ("reasoning", block.reasoning, block.signature, block.redacted)
    return ("text", block.text)
