"""Histories of real runs, of this release and earlier ones, replay on today's workflow code."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from worker import PASSTHROUGH
from workflows.session import HarnessSession

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.json"))


def test_there_are_histories_of_every_kind_of_run() -> None:
    kinds = {path.stem.rsplit("-", 1)[0] for path in HISTORIES}
    assert kinds >= {
        "text",
        "tool",
        "parallel-tools",
        "max-iterations",
        "timeout",
        "approval",
        "decided",
        "queued",
        "worker-killed",
    }


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_replays(path: Path) -> None:
    stored = json.loads(path.read_text())
    replayer = Replayer(
        workflows=[HarnessSession],
        workflow_runner=SandboxedWorkflowRunner(restrictions=PASSTHROUGH),
    )
    await replayer.replay_workflow(WorkflowHistory.from_json(stored["id"], stored["history"]))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_history_holds_references_only(path: Path) -> None:
    payloads = list(payload_texts(json.loads(path.read_text())))
    assert payloads
    for words in ("Run the shell", "Count to", "Ask for approval", "stdout", "demo/scripted"):
        assert not any(words in payload for payload in payloads)


def payload_texts(node: object) -> Iterator[str]:
    """Every payload in a history's JSON, decoded."""
    if isinstance(node, dict):
        fields = cast(dict[str, object], node)
        for name, value in fields.items():
            if name == "data" and isinstance(value, str):
                yield base64.b64decode(value).decode()
            else:
                yield from payload_texts(value)
    elif isinstance(node, list):
        for item in cast(list[object], node):
            yield from payload_texts(item)
