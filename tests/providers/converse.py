"""Bedrock's ConverseStream protocol, as strict as the real one about what it reads back."""

from collections.abc import Collection
from json import dumps
from typing import Any

from api.eventstream import event
from tests.activities.model.replay import Reply
from tests.providers.said import Json, Said, check_id, only, require, same

_ID = r"[a-zA-Z0-9_-]{1,64}"
_MEMBERS = {"text", "toolUse", "toolResult", "reasoningContent"}


def check(body: Json, seals: Collection[str]) -> None:
    """Refuse what Bedrock refuses. Source: the Converse API reference and its errors' words."""
    asked: list[str] = []
    thinks = _thinking(body)
    messages: list[Json] = body["messages"]
    require(messages and messages[0]["role"] == "user", "a conversation must start with a user")
    before = ""
    for message in messages:
        require(message["role"] != before, "roles must alternate")
        before = message["role"]
        results: list[str] = []
        calls: list[str] = []
        for block in message["content"]:
            require(len(block) == 1, "a content block has exactly one member")
            only(block, _MEMBERS, "content")
            if use := block.get("toolUse"):
                check_id(use["toolUseId"], _ID, "toolUse.toolUseId")
                only(use, {"toolUseId", "name", "input"}, "toolUse")
                calls.append(use["toolUseId"])
            if result := block.get("toolResult"):
                only(result, {"toolUseId", "content", "status"}, "toolResult")
                results.append(result["toolUseId"])
            if thought := block.get("reasoningContent"):
                signature = thought["reasoningText"]["signature"]
                require(signature in seals, "invalid `signature` in `thinking` block")
        same(asked, results, "toolResult blocks do not match toolUse blocks of the turn before")
        asked = calls
    require(not asked, "the last toolUse has no result")
    require(body.get("toolConfig") or '"toolUse"' not in dumps(body), "toolConfig must be defined")
    if thinks:
        _check_open_loop(messages)


def reply(said: Said) -> Reply:
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    block = 0

    def add(deltas: list[Json], start: Json | None = None) -> None:
        nonlocal block
        if start:
            events.append(("contentBlockStart", {"contentBlockIndex": block, "start": start}))
        for delta in deltas:
            events.append(("contentBlockDelta", {"contentBlockIndex": block, "delta": delta}))
        events.append(("contentBlockStop", {"contentBlockIndex": block}))
        block += 1

    if said.thought:
        thought = {"reasoningContent": {"text": said.thought}}
        add([thought, {"reasoningContent": {"signature": said.sealed}}])
    if said.text:
        add([{"text": said.text}])
    for number, (name, arguments) in enumerate(said.calls):
        start = {"toolUse": {"toolUseId": f"tooluse_{number}", "name": name}}
        add([{"toolUse": {"input": dumps(arguments)}}], start)
    usage = {"inputTokens": 12, "outputTokens": 5, "totalTokens": 17}
    events += [
        ("messageStop", {"stopReason": "tool_use" if said.calls else "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    ]
    pieces = tuple(event(name, payload) for name, payload in events)
    return Reply(pieces, content_type="application/vnd.amazon.eventstream")


def _thinking(body: Json) -> bool:
    fields: Json = body.get("additionalModelRequestFields", {})
    return fields.get("thinking", {}).get("type") == "enabled"


def _check_open_loop(messages: list[Json]) -> None:
    for message in reversed(messages):
        blocks: list[Json] = message["content"]
        if message["role"] == "user" and any("text" in block for block in blocks):
            return
        if message["role"] == "assistant":
            require("reasoningContent" in blocks[0], "expected `thinking` to come first")
