"""Commands beside turns in tests, as boto3 asks for them."""

from collections.abc import Iterator
from typing import Any

from tests.e2e.stack import Stack


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
    """Send a command; the chunks of its stream as they come."""
    client = stack.data
    if key:

        def add(request: Any, **_: Any) -> None:
            request.headers["x-everloop-invocation-id"] = key

        client.meta.events.register("before-sign.bedrock-agentcore.InvokeAgentRuntimeCommand", add)
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
    """Send a command and read its stream to the end."""
    ran = Ran()
    for chunk in begin(stack, arn, session, command, **members):
        ran.chunks.append(chunk)
    return ran
