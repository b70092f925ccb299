"""One conversation, three providers: the second answers the first one's tool call.

A customer asks where an order is. Claude decides to look it up; the tool's result goes to Gemini,
which answers; OpenAI is then asked about what the other two found out. Every call of InvokeHarness
names its own model; the session is the same, so is what it knows.

To run it, have the providers' keys in the environment of the worker, then point boto3 at Everloop:

    ANTHROPIC_API_KEY=... GEMINI_API_KEY=... OPENAI_API_KEY=... everloop dev
    eval "$(everloop env)" && python examples/switch_models.py

Any model ids of theirs do; so do other providers of LiteLLM's, and Bedrock's through
`{"bedrockModelConfig": {"modelId": "global.anthropic.claude-sonnet-4-6"}}`.
"""

import json
import uuid
from collections.abc import Iterable
from typing import Any, cast

import boto3

CLAUDE = {"liteLlmModelConfig": {"modelId": "anthropic/claude-sonnet-4-5"}}
GEMINI = {"liteLlmModelConfig": {"modelId": "gemini/gemini-3.5-flash"}}
OPENAI = {"liteLlmModelConfig": {"modelId": "openai/responses/gpt-5.4"}}

FIND_ORDER = {
    "type": "inline_function",
    "name": "find_order",
    "config": {
        "inlineFunction": {
            "description": "Where an order is.",
            "inputSchema": {
                "type": "object",
                "properties": {"order": {"type": "string"}},
                "required": ["order"],
            },
        }
    },
}

Json = dict[str, Any]


ORDERS = {"4711": "is in parcel PX-829-CH and will arrive on Thursday."}


def find_order(order: str) -> str:
    """The tool, which this program runs itself: what the shop knows about an order."""
    return f"Order {order} {ORDERS.get(order, 'is not known.')}"


def main() -> None:
    """Create the harness and have the conversation."""
    client = cast("Any", boto3).client
    harness = client("bedrock-agentcore-control").create_harness(
        harnessName=f"orders_{uuid.uuid4().hex[:8]}",
        executionRoleArn="arn:aws:iam::000000000000:role/Orders",
        systemPrompt=[{"text": "You help customers of a shop. Be brief."}],
        tools=[FIND_ORDER],
        allowedTools=["@find_order"],
        model=CLAUDE,
    )["harness"]
    data = client("bedrock-agentcore")
    session = str(uuid.uuid4())

    def say(model: Json, *content: Json) -> list[Json]:
        """One call of InvokeHarness with a model of its own; the tool calls it ends with."""
        (chosen,) = model.values()
        print(f"\n[{chosen['modelId']}]")
        answer = data.invoke_harness(
            harnessArn=harness["arn"],
            runtimeSessionId=session,
            model=model,
            messages=[{"role": "user", "content": list(content)}],
        )
        return show(answer["stream"])

    calls = say(CLAUDE, {"text": "Where is my order 4711?"})

    # The loop is open: the tool was called and has not answered. Another provider takes over here.
    results = [
        {
            "toolResult": {
                "toolUseId": call["toolUseId"],
                "status": "success",
                "content": [{"text": find_order(**call["input"])}],
            }
        }
        for call in calls
    ]
    say(GEMINI, *results)
    say(OPENAI, {"text": "Which parcel was it, and who looked it up for me with what arguments?"})


def show(stream: Iterable[Json]) -> list[Json]:
    """Print an answer as it comes; the tool calls of its last message."""
    calls: list[Json] = []
    arguments = ""
    for event in stream:
        if "messageStart" in event:
            calls = []
        elif use := event.get("contentBlockStart", {}).get("start", {}).get("toolUse"):
            calls.append(dict(use))
            arguments = ""
        elif delta := event.get("contentBlockDelta", {}).get("delta"):
            print(delta.get("text", ""), end="", flush=True)
            arguments += delta.get("toolUse", {}).get("input", "")
            if calls and arguments and "toolUse" in delta:
                calls[-1]["arguments"] = arguments
        elif stop := event.get("messageStop"):
            print(f"\n({stop['stopReason']})")
    for call in calls:
        call["input"] = json.loads(call.pop("arguments", "{}"))
        print(f"calls {call['name']} with {call['input']}")
    return calls


if __name__ == "__main__":
    main()
