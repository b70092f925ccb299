"""Histories of real runs, of this release and earlier ones, replay on today's workflow code."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.workflows.record import SCENARIOS
from worker import PASSTHROUGH
from workflows.deletion import DeleteActor, DeleteSession
from workflows.mailbox import HarnessMailbox
from workflows.provisioning import Provisioning
from workflows.run_agent import RunAgent
from workflows.run_harness import RunHarness
from workflows.session import HarnessSession

ROOT = Path(__file__).parent / "histories"
HISTORIES = sorted(ROOT.glob("*/*.json*"))
WORKFLOWS = [
    HarnessSession,
    RunHarness,
    RunAgent,
    HarnessMailbox,
    Provisioning,
    DeleteSession,
    DeleteActor,
]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name.partition('.')[0]}"


def read(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def type_of(stored: Any) -> str:
    started = stored["history"]["events"][0]["workflowExecutionStartedEventAttributes"]
    return started["workflowType"]["name"]


def test_there_are_histories_of_every_kind_of_run() -> None:
    kinds = {path.name.partition(".")[0].rpartition("-")[0] for path in HISTORIES}
    assert kinds == set(SCENARIOS)
    types = {type_of(read(path)) for path in HISTORIES}
    assert types == {each.__name__ for each in WORKFLOWS}


@pytest.mark.parametrize("path", HISTORIES, ids=name_of)
async def test_replays(path: Path) -> None:
    stored = read(path)
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=SandboxedWorkflowRunner(restrictions=PASSTHROUGH),
    )
    await replayer.replay_workflow(WorkflowHistory.from_json(stored["id"], stored["history"]))


@pytest.mark.parametrize("path", HISTORIES, ids=name_of)
def test_history_holds_references_only(path: Path) -> None:
    stored = read(path)
    payloads = list(payload_texts(stored))
    assert payloads
    if type_of(stored) in ("RunHarness", "HarnessMailbox"):
        # What they are told is the prompt, and a run's result the words.
        return
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
