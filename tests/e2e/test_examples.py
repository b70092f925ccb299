"""The examples, run as a reader runs them, against providers that are played."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack
from tests.providers.background import in_background
from tests.providers.said import Said
from tests.providers.server import Asked, speaking

EXAMPLES = Path(__file__).parents[2] / "examples"


def shop_assistant(asked: Asked) -> Said:
    """Knows only what stands in the request: each model repeats what it can read there."""
    sealed = f"seal of {asked.protocol}"
    parcel = re.search(r"PX-\w+-CH", asked.text)
    if parcel is None:
        call = ("find_order", {"order": "4711"})
        return Said(text="I look.", thought="an order!", calls=(call,), seal=sealed)
    if "Which parcel was it" not in asked.text:
        return Said(text=f"It is in {parcel[0]}.", seal=sealed)
    looked_up = "find_order" in asked.text and "4711" in asked.text
    return Said(text=f"{parcel[0]}, found by find_order for 4711." if looked_up else "No idea.")


@pytest.mark.thorough
@pytest.mark.wire("model.switch", "override.model")
def test_a_session_goes_from_provider_to_provider(new_stack: Callable[..., Stack]) -> None:
    with in_background(lambda: speaking(shop_assistant)) as providers:
        stack = new_stack(
            ANTHROPIC_API_KEY="test",
            ANTHROPIC_API_BASE=providers.url,
            GEMINI_API_KEY="test",
            GEMINI_API_BASE=providers.url,
            OPENAI_API_KEY="test",
            OPENAI_API_BASE=f"{providers.url}/v1",
        )
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "switch_models.py")],
            env={
                **os.environ,
                "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": stack.endpoint,
                "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": stack.endpoint,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "everloop-dev",
                "AWS_SECRET_ACCESS_KEY": "everloop-dev",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        used = usage(stack)
    assert done.returncode == 0, done.stderr
    assert providers.faults == []
    assert [asked.protocol for asked in providers.asked] == ["anthropic", "gemini", "responses"]
    claude, gemini, openai = done.stdout.split("\n[")[1:]
    assert "calls find_order with {'order': '4711'}" in claude and "(tool_use)" in claude
    assert "It is in PX-829-CH." in gemini and "(end_turn)" in gemini
    assert "PX-829-CH, found by find_order for 4711." in openai
    for asked in providers.asked[1:]:
        assert "an order!" not in asked.text
    assert {each["modelId"]: each["usage"]["modelCalls"] for each in used["models"]} == {
        "anthropic/claude-sonnet-4-5": 1,
        "gemini/gemini-3.5-flash": 1,
        "openai/responses/gpt-5.4": 1,
    }
    assert all(each["usage"]["costUsd"] > 0 for each in used["models"])


def usage(stack: Stack) -> dict[str, Any]:
    """What `everloop usage` tells of the only harness."""
    (name,) = (each["harnessName"] for each in stack.control.list_harnesses()["harnesses"])
    return json.loads(stack.everloop("usage", name, "--json").stdout)


def test_a_watch_looks_in_one_session_by_the_clock(stack: Stack) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "long_watch.py")],
        env={
            **os.environ,
            "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": stack.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "everloop-dev",
            "AWS_SECRET_ACCESS_KEY": "everloop-dev",
            "TEMPORAL_ADDRESS": stack.temporal,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The command gave:\n\n```\n3\n```" in done.stdout
    assert "3 looks, 0 failed" in done.stdout
