"""A structured result from every provider: mended after words, mended after a bad one, taken."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.harness import OutputSpec
from contracts.messages import Message, TextBlock
from contracts.settings import Settings
from contracts.tools import OUTPUT_TOOL
from contracts.turn import OutputState
from store import Store
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.session import SESSION, Session, run_config
from tests.activities.model.test_matrix import KEY_ARN, TARGETS, Model, keys, point_at
from tests.providers.said import Said
from tests.providers.server import speaking

__all__ = ["keys"]
pytestmark = [pytest.mark.usefixtures("litellm_clients", "keys"), *LITELLM_WARNS]

NOVA = Model(
    "nova", "converse", "other", {"bedrockModelConfig": {"modelId": "us.amazon.nova-pro-v1:0"}}
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "risk": {"type": "integer", "minimum": 1},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {}}}},
    },
    "required": ["summary", "risk"],
    "additionalProperties": False,
}
GOOD = {"summary": "fine \u2713", "risk": 2, "lines": [{"n": 1}]}


@pytest.mark.parametrize("model", [*TARGETS, NOVA], ids=str)
async def test_a_result_is_mended_and_taken(
    model: Model, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = [
        Said(text="All is fine.", thought="hm", seal="seal of one"),
        Said(calls=((OUTPUT_TOOL, {"summary": "fine", "risk": 0}),), seal="seal of two"),
        Said(text="Once more.", calls=((OUTPUT_TOOL, GOOD),), seal="seal of three"),
    ]
    said = iter(script)
    async with speaking(lambda _: next(said)) as providers:
        point_at(providers.url, monkeypatch)
        if KEY_ARN in str(model.config):
            settings = replace(settings, keys_from_env=True)
        session = Session(store, settings)
        run = run_config(model.config).model_copy(update={"output": OutputSpec(json_schema=SCHEMA)})
        await session.open(run, "Report.")
        states: list[OutputState] = []
        for step in range(3):
            reply = await session.call(step)
            states.append(reply.output)
            session.seq = reply.seq + (step > 0)
            assert reply.calls == ()
        assert states == [OutputState.MISSED, OutputState.MISSED, OutputState.GIVEN]
    assert providers.faults == []
    assert {asked.protocol for asked in providers.asked} == {model.protocol}
    first, second, third = providers.asked
    assert all(OUTPUT_TOOL in asked.text for asked in (first, second, third))
    assert "minimum" in first.text
    assert "still missing" in second.text and "fit the schema of" in third.text
    given = await store.calls.get(SESSION, await output_call(store))
    assert given.input == GOOD


async def output_call(store: Store) -> str:
    """The id of the newest call."""
    messages = await store.transcript.window(SESSION, upto_seq=99, limit=None)
    newest = next(m.message for m in reversed(messages) if m.message.tool_uses)
    assert isinstance(newest, Message) and not any(
        isinstance(block, TextBlock) and "reminder" in block.text
        for stored in messages
        for block in stored.message.blocks
    )
    return newest.tool_uses[-1].id
