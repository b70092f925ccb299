"""OpenAI's chat completions protocol, as strict as OpenAI about what it reads back."""

import json
from collections.abc import Collection
from typing import Any

from tests.activities.model import replay
from tests.activities.model.replay import Reply, call_delta
from tests.providers.said import Json, Said, check_id, only, require, same

_KEYS = {
    "system": {"role", "content"},
    "developer": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}
#: OpenAI's own ids are shorter; it refuses longer than this.
_ID = r"[a-zA-Z0-9_-]{1,40}"
#: Mistral, behind the same protocol.
_MISTRAL_ID = r"[a-zA-Z0-9]{9}"


def check(body: Json, seals: Collection[str]) -> None:
    """Refuse what OpenAI refuses. Source: its API reference and its errors' words."""
    del seals
    grammar = _MISTRAL_ID if "mistral" in body["model"] else _ID
    asked: list[str] = []
    answered: list[str] = []
    for place, message in enumerate(body["messages"]):
        role = message["role"]
        only(message, _KEYS[role], f"messages[{place}]")
        if role == "tool":
            answered.append(message["tool_call_id"])
            continue
        same(asked, answered, "tool_calls must be followed by tool messages for each id")
        asked, answered = [], []
        if role == "assistant":
            calls: list[Json] = message.get("tool_calls") or []
            require(message.get("content") or calls, "content is required without tool_calls")
            for call in calls:
                only(call, {"id", "type", "function"}, f"messages[{place}].tool_calls")
                check_id(call["id"], grammar, f"messages[{place}].tool_calls.id")
                arguments: Any = json.loads(call["function"]["arguments"])
                require(isinstance(arguments, dict), "arguments must be an object")
                asked.append(call["id"])
    same(asked, answered, "tool_calls must be followed by tool messages for each id")


def reply(said: Said) -> Reply:
    deltas: list[Json] = []
    if said.thought:
        deltas.append({"reasoning_content": said.thought})
    if said.text:
        deltas.append({"content": said.text})
    deltas += [
        call_delta(number, id=f"call_{number}", name=name, arguments=json.dumps(arguments))
        for number, (name, arguments) in enumerate(said.calls)
    ]
    return replay.chat(*deltas, finish="tool_calls" if said.calls else "stop")
