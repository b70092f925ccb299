"""OpenAI's Responses protocol, as strict as OpenAI about what it reads back."""

import json
from collections.abc import Collection

from tests.activities.model import replay
from tests.activities.model.replay import Reply
from tests.providers.said import Json, Said, check_id, only, require

_ID = r"[a-zA-Z0-9_-]{1,64}"
_KEYS = {
    "message": {"type", "role", "content", "id", "status"},
    "function_call": {"type", "call_id", "name", "arguments", "id", "status"},
    "function_call_output": {"type", "call_id", "output", "id", "status"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
}


def check(body: Json, seals: Collection[str]) -> None:
    """Refuse what OpenAI refuses. Source: its API reference and its errors' words."""
    require(body.get("store") is False, "these tests keep nothing at the provider")
    require("previous_response_id" not in body, "nothing was stored to go on from")
    items: list[Json] = body["input"]
    open_calls: list[str] = []
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        only(item, _KEYS[kind], f"input[{place}]")
        if kind == "function_call":
            check_id(item["call_id"], _ID, f"input[{place}].call_id")
            fits = item.get("id") is None or item["id"].startswith("fc")
            require(fits, f"input[{place}].id must begin with fc")
            require(isinstance(json.loads(item["arguments"]), dict), "arguments must be an object")
            open_calls.append(item["call_id"])
        elif kind == "function_call_output":
            known = item["call_id"] in open_calls
            require(known, f"No tool call found for function call output {item['call_id']}")
            open_calls.remove(item["call_id"])
        elif kind == "reasoning":
            sealed = item.get("encrypted_content") in seals
            require(sealed, "The encrypted content could not be verified")
            require(place + 1 < len(items), "reasoning without its required following item")
            following = items[place + 1]
            answers = following.get("type") == "function_call" or (
                following.get("role") == "assistant"
            )
            require(answers, "reasoning without its required following item")
        else:
            require(not open_calls, f"No tool output found for function call {open_calls}")
            _check_message(item, place)
    require(not open_calls, f"No tool output found for function call {open_calls}")


def reply(said: Said) -> Reply:
    items: list[Json] = []
    deltas: list[Json] = []
    if said.seal:
        summary: list[Json] = (
            [{"type": "summary_text", "text": said.thought}] if said.thought else []
        )
        item: Json = {"type": "reasoning", "id": "rs_1", "summary": summary}
        items.append(item | {"encrypted_content": said.sealed})
        done = {"type": "response.output_item.done", "output_index": 0, "item": items[0]}
        deltas.append(done)
    if said.text:
        place = {"item_id": "msg_1", "output_index": len(items), "content_index": 0}
        content = {"type": "output_text", "text": said.text, "annotations": list[object]()}
        deltas.append({"type": "response.output_text.delta", **place, "delta": said.text})
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "content": [content]})
    for number, (name, arguments) in enumerate(said.calls):
        call: Json = {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"call_{number}",
            "name": name,
            "arguments": json.dumps(arguments),
            "status": "completed",
        }
        at = {"output_index": len(items)}
        fragment = {"item_id": f"fc_{number}", **at, "delta": call["arguments"]}
        deltas += [
            {"type": "response.output_item.added", **at, "item": {**call, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", **fragment},
            {"type": "response.output_item.done", **at, "item": call},
        ]
        items.append(call)
    return replay.responses(*items, deltas=deltas)


def _check_message(item: Json, place: int) -> None:
    if isinstance(item["content"], str):
        return
    kind = "output_text" if item["role"] == "assistant" else "input_text"
    for part in item["content"]:
        require(part["type"] == kind, f"input[{place}].content: {part['type']} is not {kind}")
