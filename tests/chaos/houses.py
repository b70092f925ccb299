"""The harnesses of a chaos run, and the Everloop that they are in."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.script import REQUIRED, VOTERS, House
from tests.e2e.people import gated, own
from tests.e2e.stack import APPROVAL, Stack, wait_until
from tests.providers.background import in_background
from tests.providers.said import Said
from tests.providers.server import Asked, speaking

#: Of a turn that asks for a command or four, each in a model call of some forty tokens.
TOKENS, MORE_TOKENS = 60, 120
#: Seconds that the decisions have which nobody takes.
DEADLINE_S = 2
_BOSS = {"liteLlmModelConfig": {"modelId": "openai/boss"}}


@contextmanager
def everloop(data_dir: Path) -> Generator[Stack]:
    """An Everloop for chaos, and a model of the harness that has an agent; neither is killed."""
    with in_background(lambda: speaking(_boss)) as providers:
        stack = Stack(
            data_dir,
            EVERLOOP_GRACE_S="1",
            OPENAI_API_KEY="test",
            OPENAI_API_BASE=f"{providers.url}/v1",
        )
        try:
            yield stack.start()
        finally:
            stack.stop()


def build(stack: Stack) -> Mapping[House, str]:
    """Make the harnesses while nobody dies.

    Returns:
        Their ARNs.
    """
    rule: dict[str, Any] = {"tools": ["shell"], "action": "ask"}
    late: dict[str, Any] = {**rule, "deadlineSeconds": DEADLINE_S}
    plain = stack.harness(tools=[APPROVAL])
    agent = {"name": "helper", "harness": plain, "description": "Does what it is told."}
    budget = {"tokensPerSession": TOKENS, "atLimit": "ask"}
    return {
        "plain": plain,
        "votes": gated(stack, {**rule, "deciders": {"users": VOTERS}, "required": REQUIRED}),
        "budget": _extended(stack, {"budget": budget}),
        "agents": _extended(stack, {"agents": [agent]}, model=_BOSS),
        "late-yes": gated(stack, {**late, "onTimeout": "approve"}),
        "late-no": gated(stack, {**late, "onTimeout": "reject"}),
    }


def _extended(stack: Stack, extensions: dict[str, Any], **members: Any) -> str:
    arn = stack.harness(**members)
    harness_id = arn.split("/")[1]
    own(stack, "PUT", f"harnesses/{harness_id}/extensions", extensions)
    control = stack.control
    wait_until(
        lambda: control.get_harness(harnessId=harness_id)["harness"]["status"] == "READY",
        what="the extensions did not come into force",
    )
    return arn


def _boss(asked: Asked) -> Said:
    """Gives what it is told to its agent, and tells what came back."""
    newest = asked.body["messages"][-1]
    content = newest["content"]
    words = content if isinstance(content, str) else "".join(each["text"] for each in content)
    if newest["role"] == "tool":
        return Said(text=f"It came back: {words}")
    return Said(calls=(("helper", {"task": words}),))
