"""The demo model's protocol, as any OpenAI client sees it."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

ASKED = {
    "model": "scripted",
    "messages": [{"role": "user", "content": "Run the shell command `date`."}],
    "tools": [{"type": "function", "function": {"name": "shell"}}],
}


def post(url: str, body: dict[str, Any]) -> str:
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_a_whole_answer_says_what_the_stream_says(demo_url: str) -> None:
    whole = json.loads(post(demo_url, ASKED))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    lines = post(demo_url, {**ASKED, **options}).strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    arguments = "".join(call["function"]["arguments"] for call in calls)
    said = whole["choices"][0]["message"]
    assert text == said["content"]
    assert arguments == said["tool_calls"][0]["function"]["arguments"] == '{"command": "date"}'
    assert events[-1]["usage"] == whole["usage"]


def test_the_same_conversation_gives_the_same_bytes(demo_url: str) -> None:
    assert post(demo_url, ASKED) == post(demo_url, ASKED)


@pytest.mark.parametrize(
    ("body", "status"), [({"model": "gpt-5", "messages": []}, 404), ({"model": 1}, 400)]
)
def test_what_it_is_not_is_refused(demo_url: str, body: dict[str, Any], status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as raised:
        post(demo_url, body)
    with raised.value as answer:
        assert answer.status == status
