"""What one InvokeHarness call changes, for itself alone."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.harness import HarnessConfig
from store import migrate
from tests.api.live import Live, live_server
from tests.api.test_invoke import answer_briefly


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        server.sessions.play = answer_briefly
        yield server


def inline(name: str) -> dict[str, Any]:
    function = {"description": "d", "inputSchema": {"type": "object"}}
    return {"type": "inline_function", "name": name, "config": {"inlineFunction": function}}


OWN: dict[str, Any] = {
    "model": {"bedrockModelConfig": {"modelId": "anthropic.claude"}},
    "systemPrompt": [{"text": "Be brief."}],
    "tools": [inline("one"), inline("two")],
    "allowedTools": ["*"],
    "maxIterations": 9,
    "maxTokens": 900,
    "timeoutSeconds": 90,
}


def shown(config: HarnessConfig, member: str) -> Any:
    return config.model_dump(mode="json", by_alias=True, exclude_none=True)[member]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        pytest.param(name, value, marks=pytest.mark.wire(row, "override.scope"), id=name)
        for row, name, value in [
            ("override.model", "model", {"liteLlmModelConfig": {"modelId": "demo/echo"}}),
            ("override.system-prompt", "systemPrompt", [{"text": "Be"}, {"text": "long."}]),
            ("override.tools", "tools", [inline("three")]),
            ("override.tools", "tools", []),
            ("override.allowed-tools", "allowedTools", ["shell", "@three"]),
            ("override.allowed-tools", "allowedTools", []),
            ("override.limits", "maxIterations", 2),
            ("override.limits", "maxTokens", 50),
            ("override.limits", "timeoutSeconds", 5),
        ]
    ],
)
async def test_an_override_replaces_its_member_for_one_invocation(
    live: Live, member: str, value: Any
) -> None:
    arn = await live.harness(**OWN)
    await live.say(arn, **{member: value})
    await live.say(arn)
    session = f"session:000000000000:{arn.partition('harness/')[2]}:{'s' * 33}"
    first, second = [
        (await live.store.turns.config(session, request.invocation_id)).config
        for request, _ in live.sessions.brought
    ]
    assert {name: shown(first, name) for name in OWN} == {**OWN, member: value}
    assert {name: shown(second, name) for name in OWN} == OWN
    harness = await asyncio.to_thread(
        live.control.get_harness, harnessId=arn.partition("harness/")[2]
    )
    assert {name: harness["harness"][name] for name in OWN} == OWN
