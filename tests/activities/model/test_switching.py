"""A session that changes models half-way: what really goes over the wire to each provider."""

import contextlib
import importlib.util
import json
from typing import Any

import pytest

from activities.model import gateway
from activities.model.mapping import Target, Thoughts
from activities.model.translate import messages_for, tools_for
from contracts.messages import (
    Message,
    Origin,
    ReasoningBlock,
    TextBlock,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)
from tests.activities.model.provider import LITELLM_WARNS
from tests.activities.model.replay import error, replaying

AWS: dict[str, Any] = {
    "aws_region_name": "us-east-1",
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "example",
}
pytestmark = [
    pytest.mark.usefixtures("litellm_clients"),
    *LITELLM_WARNS,
]

TARGETS = [
    Target("anthropic/claude-sonnet-4-5", Origin.CLAUDE, Thoughts.BLOCKS),
    Target("bedrock/converse/us.anthropic.claude-x-v1:0", Origin.CLAUDE, Thoughts.BLOCKS, AWS),
    Target("bedrock/converse/amazon.nova-pro-v1:0", Origin.OTHER, Thoughts.NONE, AWS),
    Target("gemini/gemini-2.5-flash", Origin.GEMINI, Thoughts.SIGNATURES),
    Target("openai/gpt-4.1", Origin.OPENAI),
    pytest.param(
        Target("openai/responses/gpt-5", Origin.OPENAI, Thoughts.ITEMS, {"store": False}),
        marks=pytest.mark.skipif(
            importlib.util.find_spec("mcp") is None,
            reason="LiteLLM's Responses bridge imports mcp",
        ),
    ),
]

ITEM = {"id": "rs_1", "type": "reasoning", "summary": list[object](), "encrypted_content": "T1BF"}
THOUGHTS = {
    Origin.CLAUDE: ReasoningBlock(text="secret thought", signature="Q0xB", origin=Origin.CLAUDE),
    Origin.GEMINI: ReasoningBlock(text="secret thought", origin=Origin.GEMINI),
    Origin.OPENAI: ReasoningBlock(
        text="secret thought",
        origin=Origin.OPENAI,
        opaque={"provider": "openai", "reasoning_items": [ITEM]},
    ),
    Origin.OTHER: ReasoningBlock(text="secret thought"),
}
SEALS = {
    Origin.CLAUDE: "Q0xB",
    Origin.GEMINI: "R0VN",
    Origin.OPENAI: "T1BF",
    Origin.OTHER: "none such",
}


def conversation(origin: Origin) -> list[Message]:
    opaque = {"thought_signature": "R0VN"} if origin is Origin.GEMINI else None
    use = ToolUseBlock(
        id="tooluse_AbCdEfGhIjKlMnOpQrSt-_",
        name="lookup",
        input={"city": "Bern"},
        origin=origin,
        opaque=opaque,
    )
    result = ToolResultBlock(
        tool_use_id=use.id, status=ToolStatus.SUCCESS, content=("seven degrees",)
    )
    return [
        Message(role="user", blocks=(TextBlock(text="the weather?"),)),
        Message(role="assistant", blocks=(THOUGHTS[origin], TextBlock(text="I look."), use)),
        Message(role="user", blocks=(result,)),
    ]


async def sent(target: Target, shown: list[Message]) -> str:
    async with replaying(error(400, "enough")) as provider:
        own: dict[str, Any] = {**target.parameters, "api_base": provider.url}
        if target.provider == "bedrock":
            own["aws_bedrock_runtime_endpoint"] = own.pop("api_base")
        else:
            own["api_key"] = "k"
        called = Target(target.model, target.origin, target.thoughts, own)
        messages, called = messages_for(called, ("Be brief.",), shown)
        with contextlib.suppress(Exception):
            await anext(gateway.stream(called, messages, tools_for(called, [], shown)))
    (request,) = provider.requests
    return json.dumps(request.body)


@pytest.mark.wire("model.switch")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.model)
@pytest.mark.parametrize("origin", list(Origin))
async def test_calls_and_results_survive_and_no_foreign_thought_does(
    target: Target, origin: Origin
) -> None:
    body = await sent(target, conversation(origin))
    for part in ("the weather?", "I look.", "lookup", "Bern", "seven degrees", "Be brief."):
        assert part in body
    own = origin is target.origin and target.thoughts is not Thoughts.NONE
    assert (SEALS[origin] in body) is own
    shows = own and target.thoughts is Thoughts.BLOCKS
    assert ("secret thought" in body) is shows
