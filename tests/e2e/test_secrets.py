"""A planted key is sent to its provider, and is nowhere else after real turns."""

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import EventStreamError
from temporalio.client import Client

from contracts.ids import session_key
from tests.e2e.key_recorder import KeyRecorder
from tests.e2e.stack import Stack, new_session, say

#: What a command in the sandbox can try: its environment, other processes, the files it can see.
SEARCH = (
    "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\\\0' '\\\\n'; "
    "find / -name keyring.json 2>/dev/null; ls -laR /mnt; cat {data}/keyring.json"
)


@pytest.fixture
def planted() -> str:
    return f"sk-planted-{uuid.uuid4().hex}"


@pytest.fixture
def recorder(stack: Stack) -> Iterator[KeyRecorder]:
    made = KeyRecorder(stack.state()["addresses"]["demo_model"])
    yield made
    made.stop()


def files_with(needle: str, root: Path) -> list[str]:
    """Files that hold the text, however it may be written."""
    forms = [needle.encode(), needle.encode("utf-16-le"), needle.encode().hex().encode()]
    return [
        str(path)
        for path in [*root.rglob("*"), root.with_suffix(".dev.log")]
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


def rows_with(needle: str, database: Path) -> list[str]:
    """Tables with a row that holds the text in any column."""
    connection = sqlite3.connect(database)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    tables = {
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if any(
            needle.encode() in (cell if isinstance(cell, bytes) else str(cell).encode())
            for row in connection.execute(f'SELECT * FROM "{name}"')
            for cell in row
        )
    }
    connection.close()
    assert "api_key_provider" in names
    return sorted(tables)


async def history(stack: Stack, workflow_id: str) -> bytes:
    client = await Client.connect(stack.temporal)
    handle = client.get_workflow_handle(workflow_id)
    events = (await handle.fetch_history()).events
    return b"".join(event.SerializeToString() for event in events)


@pytest.mark.wire("model.key")
def test_a_planted_key_reaches_its_provider_and_nothing_else(
    stack: Stack, recorder: KeyRecorder, planted: str
) -> None:
    url, name, canary = recorder.start(), f"p{uuid.uuid4().hex[:8]}", f"canary{uuid.uuid4().hex}"
    made = stack.control.create_api_key_credential_provider(name=name, apiKey=planted)
    model = {
        "liteLlmModelConfig": {
            "modelId": "openai/scripted",
            "apiBase": url,
            "apiKeyArn": made["credentialProviderArn"],
        }
    }
    arn, session = stack.harness(model=model), new_session()
    search = SEARCH.format(data=stack.data_dir)
    told = stack.invoke(arn, session, say(f"Run the shell command `echo {canary}; {search}`"))
    assert told.stops == ["tool_use", "tool_result", "end_turn"]
    shown = str(told.frames)
    refused = _refused(lambda: stack.invoke(arn, session, say("refuse")))

    assert set(recorder.keys) == {planted}
    assert len(recorder.keys) == 3
    assert "Incorrect API key provided" in refused
    assert planted not in shown + refused + str(made)
    assert canary in shown, "the search must have run"
    assert '"primary"' not in shown, "the key ring must not be readable in the sandbox"

    workflow_id = session_key("0" * 12, arn.rpartition("/")[2], session)
    payloads = asyncio.run(history(stack, workflow_id))
    assert planted.encode() not in payloads
    assert len(payloads) > 1000

    database = stack.data_dir / "everloop.db"
    assert rows_with(canary, database) != [], "the search must find what is there"
    assert rows_with(planted, database) == []
    assert files_with(canary, stack.data_dir) != []
    assert files_with(planted, stack.data_dir) == []


@pytest.mark.wire("model.key-missing")
def test_a_deleted_provider_ends_the_turn_with_its_arn(stack: Stack) -> None:
    name = f"p{uuid.uuid4().hex[:8]}"
    made = stack.control.create_api_key_credential_provider(name=name, apiKey="sk-short-lived")
    key_arn = made["credentialProviderArn"]
    arn = stack.harness(model={"liteLlmModelConfig": {"modelId": "openai/m", "apiKeyArn": key_arn}})
    stack.control.delete_api_key_credential_provider(name=name)
    told = _refused(lambda: stack.invoke(arn, new_session(), say("Hello")))
    assert "runtimeClientError" in told
    assert key_arn in told


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises(EventStreamError) as caught:
        call()
    return str(caught.value)
