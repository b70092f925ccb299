from typing import Any

import pytest

from contracts.errors import ServiceError
from contracts.overrides import read_document

INLINE = {
    "type": "inline_function",
    "name": "ask",
    "config": {"inlineFunction": {"description": "Ask", "inputSchema": {"type": "object"}}},
}


def test_a_document_is_read_by_the_names_of_the_wire() -> None:
    read = read_document(
        {
            "model": {"bedrockModelConfig": {"modelId": "m", "temperature": 0.5}},
            "systemPrompt": [{"text": "Be brief."}],
            "tools": [INLINE],
            "allowedTools": ["@ask"],
            "maxIterations": 3,
        },
        "overrides",
    )
    assert read.model is not None and read.model.chosen.model_id == "m"
    assert read.system_prompt is not None and read.system_prompt[0].text == "Be brief."
    assert read.tools is not None and read.tools[0].name == "ask"
    assert (read.allowed_tools, read.max_iterations, read.max_tokens) == (("@ask",), 3, None)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"temperature": 1}, "overrides.temperature"),
        ({"maxIterations": "many"}, "overrides.maxIterations"),
        ({"maxTokens": 0}, "overrides.maxTokens"),
        ({"timeoutSeconds": 10**9}, "overrides.timeoutSeconds"),
        ({"model": {}}, "overrides.model"),
        (
            {"model": {"bedrockModelConfig": {"modelId": "a"}, "geminiModelConfig": None}},
            None,
        ),
        (
            {"model": {"liteLlmModelConfig": {"modelId": "a", "additionalParams": {"api_key": 1}}}},
            "overrides.model.liteLlmModelConfig.additionalParams.api_key",
        ),
        ({"tools": [{**INLINE, "name": "no name"}]}, "overrides.tools[0].name"),
        ({"tools": [{**INLINE, "name": "shell"}]}, "overrides.tools[0].name"),
        ({"allowedTools": [""]}, "overrides.allowedTools[0]"),
        ({"systemPrompt": "Be brief."}, "overrides.systemPrompt"),
    ],
)
def test_what_is_wrong_is_named(document: dict[str, Any], path: str | None) -> None:
    if path is None:
        read_document(document, "overrides")
        return
    with pytest.raises(ServiceError) as refused:
        read_document(document, "overrides")
    assert path in [fault.name for fault in refused.value.detail.fields]
