"""Anthropic's Messages protocol, as strict as the real one about what it reads back."""

from collections.abc import Collection
from json import dumps
from typing import Any

from tests.activities.model.replay import Reply, anthropic
from tests.providers.said import Json, Said, check_id, only, require, same

_ID = r"[a-zA-Z0-9_-]+"
_KEYS = {
    "text": {"type", "text"},
    "tool_use": {"type", "id", "name", "input"},
    "tool_result": {"type", "tool_use_id", "content", "is_error"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
}


def check(body: Json, seals: Collection[str]) -> None:
    """Refuse what Anthropic refuses. Source: its API reference and its errors' words."""
    messages = [(m["role"], _blocks(m["content"])) for m in body["messages"]]
    require(messages and messages[0][0] == "user", "the first message must be of role user")
    asked: list[str] = []
    for place, (role, blocks) in enumerate(messages):
        for block in blocks:
            kind = block["type"]
            only(block, _KEYS.get(kind, ()), f"messages.{place}.{kind}")
            if kind == "thinking":
                require(block["signature"] in seals, "invalid `signature` in `thinking` block")
            if kind == "tool_use":
                check_id(block["id"], _ID, f"messages.{place}.tool_use.id")
                require(isinstance(block["input"], dict), "tool_use.input must be an object")
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        same(asked, results, "`tool_use` ids were found without `tool_result` blocks right after")
        leading = [b["type"] for b in blocks[: len(results)]]
        require(set(leading) <= {"tool_result"}, "tool_result blocks must come first")
        asked = [b["id"] for b in blocks if b["type"] == "tool_use"]
        require(role == "assistant" or not asked, "tool_use in a user message")
    require(not asked, "the last tool_use has no result")
    called = any(b["type"] == "tool_use" for _, blocks in messages for b in blocks)
    require(body.get("tools") or not called, "`tools` must be given when tools were used")
    if body.get("thinking", {}).get("type") == "enabled":
        require(body["thinking"]["budget_tokens"] < body["max_tokens"], "max_tokens is too small")
        _check_open_loop(messages)


def reply(said: Said) -> Reply:
    blocks: list[list[Json]] = []
    if said.thought:
        thinking = {"type": "thinking", "thinking": "", "signature": ""}
        thought = {"type": "thinking_delta", "thinking": said.thought}
        sealed = {"type": "signature_delta", "signature": said.sealed}
        blocks.append([thinking, thought, sealed])
    if said.text:
        blocks.append([{"type": "text", "text": ""}, {"type": "text_delta", "text": said.text}])
    for number, (name, arguments) in enumerate(said.calls):
        opened: Json = {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}
        blocks.append([opened, {"type": "input_json_delta", "partial_json": dumps(arguments)}])
    return anthropic(*blocks, stop="tool_use" if said.calls else "end_turn")


def _blocks(content: Any) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_open_loop(messages: list[tuple[str, list[Json]]]) -> None:
    for role, blocks in reversed(messages):
        if role == "user" and any(block["type"] == "text" for block in blocks):
            return
        if role == "assistant":
            begins = blocks[0]["type"] in ("thinking", "redacted_thinking")
            require(begins, f"expected `thinking`, but found `{blocks[0]['type']}`")
