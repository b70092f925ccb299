"""Gemini's generateContent protocol, as strict as Gemini 3 about what it reads back."""

import base64
from collections.abc import Collection
from typing import Any

from tests.activities.model import replay
from tests.activities.model.replay import Reply
from tests.providers.said import Json, Said, only, require

#: What Google documents for calls that another model made.
_PLACEHOLDERS = {
    text
    for word in ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
    for text in (word, base64.b64encode(word.encode()).decode())
}
_MEMBERS = {"text", "functionCall", "functionResponse", "thoughtSignature"}


def check(body: Json, seals: Collection[str]) -> None:
    """Refuse what Gemini 3 refuses. Source: Google's pages on function calling and signatures."""
    asked: list[str] = []
    contents = [(c["role"], [_camel(p) for p in c["parts"]]) for c in body["contents"]]
    require(contents and contents[0][0] == "user", "the first content must be of role user")
    for role, parts in contents:
        require(role in ("user", "model"), f"role {role!r} is not valid")
        calls = [part for part in parts if "functionCall" in part]
        answers = [p["functionResponse"]["name"] for p in parts if "functionResponse" in p]
        require(
            answers == asked,
            f"function response parts must match the function calls before: {asked}, {answers}",
        )
        for part in parts:
            only(part, _MEMBERS, "parts")
            seal = part.get("thoughtSignature")
            known = seal is None or seal in seals or seal in _PLACEHOLDERS
            require(known, "Thought signature is not valid")
        signed = not calls or calls[0].get("thoughtSignature")
        require(signed, "Function call is missing a thought_signature")
        asked = [part["functionCall"]["name"] for part in calls]
    require(not asked, "the last function call has no response")


def reply(said: Said) -> Reply:
    pieces: list[list[Json]] = []
    if said.thought:
        pieces.append([{"text": said.thought, "thought": True}])
    if said.text:
        pieces.append([{"text": said.text}])
    parts: list[Json] = [
        {"functionCall": {"name": name, "args": arguments}} for name, arguments in said.calls
    ]
    if parts and said.seal:
        # Of parallel calls, Gemini signs the first.
        parts[0]["thoughtSignature"] = said.sealed
    if parts:
        pieces.append(parts)
    return replay.gemini(*pieces)


def _camel(part: Json) -> Json:
    names = {
        "function_call": "functionCall",
        "function_response": "functionResponse",
        "thought_signature": "thoughtSignature",
    }
    plain: dict[str, Any] = {names.get(name, name): value for name, value in part.items()}
    return plain
