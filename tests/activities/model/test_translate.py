"""The neutral transcript, written for each family."""

from typing import Any

import pytest

from activities.model.mapping import Target, Thoughts
from activities.model.translate import (
    NO_RESULT,
    OPENING,
    Json,
    messages_for,
    tool_call_id,
    tools_for,
)
from contracts.messages import (
    Message,
    Origin,
    ReasoningBlock,
    TextBlock,
    ToolResultBlock,
    ToolStatus,
    ToolUseBlock,
)
from contracts.tools import Repeat, ToolKind, ToolSpec

CLAUDE = Target("anthropic/claude-x", Origin.CLAUDE, Thoughts.BLOCKS)
GEMINI = Target("gemini/gemini-3", Origin.GEMINI, Thoughts.SIGNATURES)
OPENAI = Target("openai/responses/gpt-5", Origin.OPENAI, Thoughts.ITEMS)
AZURE = Target("azure/responses/gpt-5", Origin.OPENAI, Thoughts.ITEMS)
CHAT = Target("openai/gpt-5", Origin.OPENAI)
NOVA = Target("bedrock/converse/amazon.nova-pro-v1:0", Origin.OTHER)
TARGETS = [CLAUDE, GEMINI, OPENAI, AZURE, CHAT, NOVA]

THOUGHTS = {
    Origin.CLAUDE: ReasoningBlock(text="hm", signature="SIG-CLAUDE", origin=Origin.CLAUDE),
    Origin.GEMINI: ReasoningBlock(
        text="hm",
        origin=Origin.GEMINI,
        opaque={"provider": "gemini", "thought_signatures": ["SIG-GEMINI"]},
    ),
    Origin.OPENAI: ReasoningBlock(
        text="hm",
        origin=Origin.OPENAI,
        opaque={"provider": "openai", "reasoning_items": [{"encrypted_content": "SIG-OPENAI"}]},
    ),
    Origin.OTHER: ReasoningBlock(text="SIG-OTHER"),
}


def user(*texts: str) -> Message:
    return Message(role="user", blocks=tuple(TextBlock(text=text) for text in texts))


def result(tool_use_id: str, text: str, status: ToolStatus = ToolStatus.SUCCESS) -> ToolResultBlock:
    return ToolResultBlock(tool_use_id=tool_use_id, status=status, content=(text,))


def results(*blocks: Any) -> Message:
    return Message(role="user", blocks=blocks)


def assistant(*blocks: Any) -> Message:
    return Message(role="assistant", blocks=blocks)


def use(tool_use_id: str, origin: Origin = Origin.OTHER, **own: Any) -> ToolUseBlock:
    return ToolUseBlock(id=tool_use_id, name="f", input={"a": 1}, origin=origin, **own)


def written(target: Target, *shown: Message, system: tuple[str, ...] = ()) -> list[Json]:
    return messages_for(target, system, shown)[0]


def test_a_tool_loop_in_order() -> None:
    messages = written(
        CHAT,
        user("go"),
        assistant(TextBlock(text="ok"), use("t1"), use("t2")),
        results(result("t2", "two"), result("t1", "one")),
        user("next"),
        system=("one", "two"),
    )
    assert messages[0] == {"role": "system", "content": "one\n\ntwo"}
    assert messages[1] == {"role": "user", "content": "go"}
    assert messages[2]["content"] == "ok"
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["t1", "t2"]
    assert messages[2]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert messages[3:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": "two"},
        {"role": "user", "content": "next"},
    ]


def test_results_and_words_of_one_message() -> None:
    mixed = results(result("t1", "one"), TextBlock(text="and now"))
    messages = written(CHAT, user("go"), assistant(use("t1")), mixed)
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]


def test_neighbours_of_one_role_are_merged() -> None:
    messages = written(
        CHAT,
        user("a"),
        user("b", "c"),
        assistant(TextBlock(text="x")),
        assistant(TextBlock(text="y"), use("t1")),
        results(result("t1", "one")),
    )
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert [part["text"] for part in messages[0]["content"]] == ["a", "b", "c"]
    assert messages[1]["content"] == "xy"


def test_an_empty_answer_is_left_out() -> None:
    messages = written(CHAT, user("a"), assistant(), user("b"))
    assert len(messages) == 1


def test_a_conversation_that_starts_in_the_middle_is_valid() -> None:
    messages = written(CHAT, results(result("gone", "x")), assistant(use("t1")), user("go"))
    assert messages[0] == {"role": "user", "content": OPENING}
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[2]["content"] == NO_RESULT


def test_a_failed_call_reads_as_one() -> None:
    failed = results(
        result("t1", "no such file", ToolStatus.ERROR),
        result("t2", "Error: gone", ToolStatus.ERROR),
    )
    messages = written(CHAT, user("go"), assistant(use("t1"), use("t2")), failed)
    assert [message["content"] for message in messages[2:]] == [
        "Error: no such file",
        "Error: gone",
    ]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.model)
@pytest.mark.parametrize("origin", list(Origin))
def test_thoughts_go_only_to_the_family_that_had_them(target: Target, origin: Origin) -> None:
    call = use("t1", origin, opaque={"thought_signature": f"CALL-{origin}"})
    messages = written(
        target, user("go"), assistant(THOUGHTS[origin], call), results(result("t1", "one"))
    )
    sent = str(messages)
    own = target.thoughts is not Thoughts.NONE and target.origin is origin and target is not AZURE
    assert (f"SIG-{origin.name}" in sent) is own
    assert (f"CALL-{origin}" in sent) is (target is GEMINI and origin is Origin.GEMINI)
    assert "hm" not in sent or target is CLAUDE
    assert messages[1]["tool_calls"][0]["id"] == "t1"
    assert messages[2]["content"] == "one"


def test_claude_gets_its_thoughts_as_blocks() -> None:
    redacted = ReasoningBlock(redacted="UkVE", origin=Origin.CLAUDE)
    unsealed = ReasoningBlock(text="cut", origin=Origin.CLAUDE)
    messages = written(
        CLAUDE,
        user("go"),
        assistant(THOUGHTS[Origin.CLAUDE], redacted, unsealed, TextBlock(text="x")),
        user("on"),
    )
    assert messages[1]["thinking_blocks"] == [
        {"type": "thinking", "thinking": "hm", "signature": "SIG-CLAUDE"},
        {"type": "redacted_thinking", "data": "UkVE"},
    ]


def test_thinking_rests_while_a_loop_without_thoughts_is_open() -> None:
    thinking = Target(
        CLAUDE.model,
        CLAUDE.origin,
        CLAUDE.thoughts,
        {"thinking": {"type": "enabled"}, "max_tokens": 5},
    )
    foreign = (user("go"), assistant(use("t1", Origin.GEMINI)), results(result("t1", "one")))
    assert messages_for(thinking, (), foreign)[1].parameters == {"max_tokens": 5}
    own = (
        user("go"),
        assistant(THOUGHTS[Origin.CLAUDE], use("t1", Origin.CLAUDE)),
        results(result("t1", "one")),
    )
    assert messages_for(thinking, (), own)[1] == thinking
    assert messages_for(thinking, (), (*foreign, user("next")))[1] == thinking


def test_ids_in_the_grammar_of_the_provider() -> None:
    mistral = Target("mistral/mistral-large", Origin.OTHER)
    short = tool_call_id(mistral, "tooluse_abc")
    assert len(short) == 9 and short.isalnum()
    assert tool_call_id(mistral, "tooluse_abc") == short
    assert tool_call_id(mistral, "tooluse_abd") != short
    assert len(tool_call_id(CHAT, "x" * 64)) <= 40
    assert tool_call_id(CHAT, "tooluse_abc") == "tooluse_abc"
    assert tool_call_id(CLAUDE, "x" * 64) == "x" * 64


def test_offered_tools_in_openais_shape() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    spec = ToolSpec("f", "Does.", ToolKind.INLINE, "f", Repeat.ONCE, schema)
    assert tools_for(CHAT, [spec], []) == [
        {
            "type": "function",
            "function": {"name": "f", "description": "Does.", "parameters": schema},
        }
    ]


def test_tools_that_were_called_are_named_where_a_provider_insists() -> None:
    shown = [user("go"), assistant(use("t1")), results(result("t1", "one"))]
    for target in (CLAUDE, NOVA):
        (tool,) = tools_for(target, [], shown)
        assert tool["function"]["name"] == "f"
    assert tools_for(CHAT, [], shown) == []
    assert tools_for(CLAUDE, [], [user("go")]) == []
