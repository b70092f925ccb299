"""One server that speaks five providers' protocols and says what a test's script says."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.activities.model.replay import Reply, Request, error, replaying
from tests.providers import anthropic, chat, converse, gemini, responses
from tests.providers.said import Fault, Json, Said

Script = Callable[["Asked"], Said]

_PROTOCOLS = {
    "anthropic": anthropic,
    "converse": converse,
    "gemini": gemini,
    "chat": chat,
    "responses": responses,
}


@dataclass(frozen=True)
class Asked:
    """One request to a model."""

    protocol: str
    body: Json

    @property
    def text(self) -> str:
        """The body, to look for words in."""
        return json.dumps(self.body)


@dataclass
class Providers:
    """Checks each request as its provider would, and answers by the script."""

    script: Script
    url: str = ""
    asked: list[Asked] = field(default_factory=list[Asked])
    #: Why requests were refused.
    faults: list[str] = field(default_factory=list[str])
    _seals: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def answer(self, request: Request) -> Reply:
        name = protocol_of(request.path)
        protocol = _PROTOCOLS[name]
        asked = Asked(name, request.body)
        self.asked.append(asked)
        seals = self._seals.setdefault(_family(name, request.path), set())
        try:
            protocol.check(request.body, seals)
        except (Fault, KeyError, TypeError, ValueError) as fault:
            self.faults.append(f"{name}: {fault!r}")
            return error(400, f"{fault}")
        said = self.script(asked)
        if said.seal:
            seals.add(said.sealed)
        return protocol.reply(said)


def protocol_of(path: str) -> str:
    """The protocol of a request, by its path."""
    for part, name in (
        ("/messages", "anthropic"),
        ("/converse-stream", "converse"),
        (":streamGenerateContent", "gemini"),
        ("/chat/completions", "chat"),
        ("/responses", "responses"),
    ):
        if part in path:
            return name
    raise ValueError(f"no provider has {path}")


def _family(protocol: str, path: str) -> str:
    """Whose seals are read: Anthropic and Bedrock accept each other's of Claude's thoughts."""
    return "claude" if protocol == "anthropic" or "claude" in path else protocol


@asynccontextmanager
async def speaking(script: Script) -> AsyncGenerator[Providers]:
    """All five providers on a free port of loopback."""
    providers = Providers(script)
    async with replaying(answer=providers.answer) as server:
        providers.url = server.url
        yield providers
