"""AWS's own command line and SDK drive a harness's whole life on a running Everloop."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from tests.e2e.stack import DEMO, ROLE, Stack, Told, new_session, say, wait_until

AWS = Path(sys.executable).parent / "aws"
Done = subprocess.CompletedProcess[str]
#: The exit code of the command when the service answers with an error.
SERVICE_ERROR = (254, 255)


class Aws:
    """`aws bedrock-agentcore-control`, as on anybody's machine: environment variables and flags."""

    def __init__(self, endpoint: str, home: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._env = kept | {
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": "dummy",
            "AWS_SECRET_ACCESS_KEY": "dummy",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": endpoint,
            "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": endpoint,
        }

    def run(self, operation: str, **options: Any) -> Done:
        """One call; options are the operation's, documents are written as JSON."""
        command = [str(AWS), "bedrock-agentcore-control", operation, "--output", "json"]
        for name, value in options.items():
            text = value if isinstance(value, str) else json.dumps(value)
            command += [f"--{name.replace('_', '-')}", text]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, operation: str, **options: Any) -> dict[str, Any]:
        done = self.run(operation, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "{}")

    def refused(self, operation: str, **options: Any) -> str:
        done = self.run(operation, **options)
        assert done.returncode in SERVICE_ERROR, done.stdout + done.stderr
        return done.stderr


@pytest.fixture
def aws(stack: Stack, tmp_path: Path) -> Aws:
    return Aws(stack.endpoint, tmp_path)


def ready(get: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `get` gives once its status is READY."""

    def look() -> dict[str, Any] | None:
        shown = get()
        return shown if shown["status"] == "READY" else None

    found = wait_until(look, what="READY did not come")
    assert found is not None
    return found


def gone(call: Callable[..., Any], **members: str) -> bool:
    """Whether what a call asks for is no longer there."""
    try:
        call(**members)
    except ClientError as error:
        answer: dict[str, Any] = cast(Any, error).response
        assert answer["Error"]["Code"] == "ResourceNotFoundException"
        return True
    return False


@pytest.mark.wire("harness.create", "harness.get", "harness.list", "harness.update")
@pytest.mark.wire("endpoint.create", "endpoint.update", "endpoint.delete", "tags.set")
@pytest.mark.wire("harness.delete", "harness.delete-endpoints", "error.form")
def test_the_aws_command_drives_a_harness_from_create_to_delete(stack: Stack, aws: Aws) -> None:
    control: Any = stack.control
    name = f"cli{uuid.uuid4().hex[:8]}"
    made = aws(
        "create-harness",
        harness_name=name,
        execution_role_arn=ROLE,
        model=DEMO,
        system_prompt=[{"text": "Be kind."}],
        tags={"team": "support"},
    )["harness"]
    harness_id, arn = made["harnessId"], made["arn"]
    which = {"harness_id": harness_id}
    prod = {**which, "endpoint_name": "prod"}

    # The command is slow to start, so waiting is left to boto3.
    def wait_for_harness() -> None:
        ready(lambda: control.get_harness(harnessId=harness_id)["harness"])

    def wait_for_endpoint() -> None:
        where = {"harnessId": harness_id, "endpointName": "prod"}
        ready(lambda: control.get_harness_endpoint(**where)["endpoint"])

    wait_for_harness()
    shown = aws("get-harness", **which)["harness"]
    assert (shown["harnessName"], shown["systemPrompt"]) == (name, [{"text": "Be kind."}])
    assert (shown["model"], shown["maxIterations"]) == (DEMO, 75)

    taken = aws.refused("create-harness", harness_name=name, execution_role_arn=ROLE)
    assert "(ConflictException) when calling the CreateHarness operation" in taken
    other = f"other{uuid.uuid4().hex[:8]}"
    control.create_harness(harnessName=other, executionRoleArn=ROLE)
    first = aws("list-harnesses", page_size="1", max_items="1")
    rest = aws("list-harnesses", page_size="50", starting_token=first["NextToken"])
    assert len(first["harnesses"]) == 1 and "NextToken" not in rest
    seen = [one["harnessName"] for page in (first, rest) for one in page["harnesses"]]
    assert seen.count(name) == seen.count(other) == 1

    aws("update-harness", **which, max_iterations="3")
    wait_for_harness()
    listed = aws("list-harness-versions", **which, page_size="1")["harnessVersions"]
    assert [one["harnessVersion"] for one in listed] == ["2", "1"]

    aws("create-harness-endpoint", **prod, target_version="1", description="What customers use")
    wait_for_endpoint()
    for version in ("2", "1"):
        moved = aws("update-harness-endpoint", **prod, target_version=version)["endpoint"]
        assert moved["targetVersion"] == version
        wait_for_endpoint()
    assert aws("get-harness-endpoint", **prod)["endpoint"]["liveVersion"] == "1"
    listed = aws("list-harness-endpoints", **which)["endpoints"]
    assert [one["endpointName"] for one in listed] == ["DEFAULT", "prod"]

    aws("tag-resource", resource_arn=arn, tags={"stage": "test"})
    aws("untag-resource", resource_arn=arn, tag_keys="team")
    assert aws("list-tags-for-resource", resource_arn=arn)["tags"] == {"stage": "test"}

    def names() -> list[str]:
        found = control.list_harness_endpoints(harnessId=harness_id)["endpoints"]
        return [one["endpointName"] for one in found]

    assert "(ConflictException)" in aws.refused("delete-harness", **which)
    aws("delete-harness-endpoint", **prod)
    wait_until(lambda: names() == ["DEFAULT"], what="the endpoint is not gone")
    assert aws("delete-harness", **which)["harness"]["status"] == "DELETING"
    wait_until(lambda: gone(control.get_harness, harnessId=harness_id), what="it is not gone")
    missing = aws.refused("get-harness", **which)
    assert "(ResourceNotFoundException) when calling the GetHarness operation" in missing
    assert harness_id in missing


@pytest.mark.wire("credential.create", "credential.get", "credential.list", "credential.update")
@pytest.mark.wire("credential.delete")
def test_the_aws_command_drives_a_credential_provider(aws: Aws) -> None:
    key = {"name": f"cli-{uuid.uuid4().hex[:8]}"}
    made = aws("create-api-key-credential-provider", **key, api_key="sk-first")
    shown = aws("get-api-key-credential-provider", **key)
    assert shown["credentialProviderArn"] == made["credentialProviderArn"]
    aws("update-api-key-credential-provider", **key, api_key="sk-second")
    listed = aws("list-api-key-credential-providers", page_size="1")["credentialProviders"]
    assert key["name"] in [one["name"] for one in listed]
    aws("delete-api-key-credential-provider", **key)
    missing = aws.refused("get-api-key-credential-provider", **key)
    assert "(ResourceNotFoundException)" in missing
    bad = aws.refused("create-api-key-credential-provider", name="b", api_key="two words ")
    assert "(ValidationException)" in bad and "two words" not in bad


@pytest.mark.wire(
    "harness.list", "endpoint.list", "version.list", "invoke.form", "invoke.qualifier"
)
def test_boto3_reads_after_it_writes_and_pages_and_invokes(stack: Stack) -> None:
    """As Terraform does: create, read until ready, plan nothing; change, read; destroy, read."""
    control: Any = stack.control
    definition: dict[str, Any] = {
        "model": DEMO,
        "systemPrompt": [{"text": "Be kind."}],
        "allowedTools": ["shell"],
        "environmentVariables": {"STAGE": "test"},
        "maxIterations": 4,
        "maxTokens": 4000,
        "timeoutSeconds": 120,
    }
    made = control.create_harness(
        harnessName=f"sdk{uuid.uuid4().hex[:8]}", executionRoleArn=ROLE, **definition
    )["harness"]
    which = {"harnessId": made["harnessId"]}
    prod = {**which, "endpointName": "prod"}

    def harness() -> dict[str, Any]:
        return control.get_harness(**which)["harness"]

    def endpoint() -> dict[str, Any]:
        return control.get_harness_endpoint(**prod)["endpoint"]

    shown = ready(harness)
    assert {name: shown[name] for name in definition} == definition
    control.create_harness_endpoint(**prod)
    assert ready(endpoint)["liveVersion"] == "1"
    changed: dict[str, Any] = {**definition, "maxIterations": 1, "environmentVariables": {}}
    control.update_harness(**which, **changed)
    shown = ready(harness)
    assert "environmentVariables" not in shown
    assert shown["maxIterations"] == 1

    def stop_reason(**members: Any) -> str:
        text = say("Run the shell command `true`")
        answer = stack.data.invoke_harness(
            harnessArn=made["arn"], runtimeSessionId=new_session(), messages=text, **members
        )
        try:
            return Told(list(answer["stream"])).stop_reason
        finally:
            answer["stream"].close()

    assert stop_reason() == "max_iterations_exceeded"
    assert stop_reason(qualifier="prod") == "end_turn"

    def every(operation: str, member: str, **members: Any) -> list[dict[str, Any]]:
        pages = control.get_paginator(operation).paginate(
            PaginationConfig={"PageSize": 1}, **members
        )
        return [one for page in pages for one in page[member]]

    ids = [one["harnessId"] for one in every("list_harnesses", "harnesses")]
    assert ids.count(made["harnessId"]) == 1
    versions = every("list_harness_versions", "harnessVersions", **which)
    assert [one["harnessVersion"] for one in versions] == ["2", "1"]
    endpoints = every("list_harness_endpoints", "endpoints", **which)
    assert [one["endpointName"] for one in endpoints] == ["DEFAULT", "prod"]

    control.delete_harness_endpoint(**prod)
    wait_until(lambda: gone(endpoint), what="the endpoint is not gone")
    control.delete_harness(**which)
    wait_until(lambda: gone(harness), what="the harness is not gone")
