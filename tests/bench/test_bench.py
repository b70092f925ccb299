"""The measurements can be named, run and read by a program."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from bench.__main__ import MEASUREMENTS
from bench.model_server import ModelServer

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_one_measurement_runs_alone_and_prints_json() -> None:
    done = bench("--only", "requests", "--json")
    assert done.returncode == 0, done.stderr
    (figure,) = json.loads(done.stdout)
    assert figure["unit"] == "ms"
    assert figure["value"] > 0
    assert figure["budget"] is not None


def test_an_unknown_measurement_is_refused_with_those_there_are() -> None:
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert all(name in done.stderr for name in MEASUREMENTS)


def test_the_page_explains_every_measurement() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert [name for name in MEASUREMENTS if f"| `{name}` |" not in page] == []


class Talk:
    """A conversation with the model, whose calls are answered at once."""

    def __init__(self, url: str, text: str) -> None:
        self._url = f"{url}/chat/completions"
        self._messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
        self.calls = 0
        self.over = False

    def go_on(self) -> None:
        if self.over:
            return
        answer = httpx.post(self._url, json={"messages": self._messages, "stream": True})
        data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        deltas = [choice["delta"] for one in data[:-1] for choice in json.loads(one)["choices"]]
        called = [call for delta in deltas for call in delta.get("tool_calls", ())]
        self.over = not called
        self.calls += len(called)
        for call in called:
            self._messages += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": "done"},
            ]


def test_the_instant_model_serves_sessions_side_by_side() -> None:
    server = ModelServer()
    url = server.start()
    try:
        talks = [Talk(url, f"work {count}") for count in (1, 3, 2)]
        while not all(talk.over for talk in talks):
            for talk in talks:
                talk.go_on()
        assert [talk.calls for talk in talks] == [1, 3, 2]
    finally:
        server.stop()
