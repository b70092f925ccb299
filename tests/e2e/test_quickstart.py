"""AWS's quickstart, as the README prints it, against a running Everloop."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bedrock_server import BedrockServer
from tests.e2e.stack import Stack

README = Path(__file__).parents[2] / "README.md"


def quickstart() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return next(block for block in blocks if "create_harness" in block)


def exported(data_dir: Path) -> dict[str, str]:
    """What `eval "$(everloop env)"` puts into a shell."""
    shell = f'eval "$({sys.executable} -m everloop.cli env --data-dir {data_dir})"; env -0'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    return dict(entry.split("=", 1) for entry in done.stdout.split("\0") if "=" in entry)


def test_the_quickstart_runs_unchanged_on_the_default_model(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    bedrock = BedrockServer(["Day one: ", "Asakusa. ", "Day two: ", "Shibuya."])
    try:
        stack = new_stack(
            AWS_BEDROCK_RUNTIME_ENDPOINT=bedrock.start(),
            AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
            AWS_SECRET_ACCESS_KEY="example",
            AWS_DEFAULT_REGION="us-east-1",
        )
        script = tmp_path / "quickstart.py"
        script.write_text(quickstart())
        done = subprocess.run(
            [sys.executable, str(script)],
            env=exported(stack.data_dir),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        bedrock.stop()
    assert done.returncode == 0, done.stderr
    assert bedrock.models == ["global.anthropic.claude-sonnet-4-6"]
    assert "Asakusa" in done.stdout
    assert "{'messageStop': {'stopReason': 'end_turn'}}" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_env_points_plain_boto3_at_everloop(stack: Stack, shell: str) -> None:
    env = exported(stack.data_dir)
    assert env["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"] == stack.endpoint
    assert env["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL"] == stack.endpoint
    script = "import boto3; boto3.client('bedrock-agentcore-control').list_harnesses()"
    done = subprocess.run(
        [shell, "-c", f'{sys.executable} -c "{script}"'],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
