"""Commands beside turns, as boto3 asks for them, through every kill there is."""

import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.e2e.stack import Stack, new_session, say, wait_until


class Ran:
    """What a stream of InvokeAgentRuntimeCommand told."""

    def __init__(self) -> None:
        self.chunks: list[dict[str, Any]] = []

    def text(self, name: str = "stdout") -> str:
        deltas = [each["contentDelta"] for each in self.chunks if "contentDelta" in each]
        return "".join(each.get(name) or "" for each in deltas)

    @property
    def stop(self) -> dict[str, Any]:
        assert self.chunks[0] == {"contentStart": {}}
        return self.chunks[-1]["contentStop"]


def begin(
    stack: Stack, arn: str, session: str, command: str, *, key: str = "", **members: Any
) -> Iterator[dict[str, Any]]:
    client = stack.data
    if key:

        def add(request: Any, **_: Any) -> None:
            request.headers["x-everloop-invocation-id"] = key

        client.meta.events.register(
            "before-sign.bedrock-agentcore.InvokeAgentRuntimeCommand", add
        )
    body = {"command": command, **members}
    answer = client.invoke_agent_runtime_command(
        agentRuntimeArn=arn, runtimeSessionId=session, body=body
    )
    assert answer["runtimeSessionId"] == session

    def chunks() -> Iterator[dict[str, Any]]:
        try:
            for event in answer["stream"]:
                yield event["chunk"]
        finally:
            answer["stream"].close()

    return chunks()


def run(stack: Stack, arn: str, session: str, command: str, **members: Any) -> Ran:
    ran = Ran()
    for chunk in begin(stack, arn, session, command, **members):
        ran.chunks.append(chunk)
    return ran


def test_a_command_runs_in_a_session_that_only_commands_made(stack: Stack) -> None:
    arn, session = stack.harness(), new_session()
    ran = run(stack, arn, session, "echo out; echo err >&2; echo kept > f; exit 3")
    assert (ran.text(), ran.text("stderr")) == ("out\n", "err\n")
    assert ran.stop == {"exitCode": 3, "status": "COMPLETED"}
    assert run(stack, arn, session, "cat f").text() == "kept\n"
