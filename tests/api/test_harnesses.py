"""Harnesses through boto3 and a real server: create, get, list, delete."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from tests.api.conftest import ACCOUNT, ROLE

TOKEN = "0123456789-0123456789-0123456789-abc"
SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "string", "default": None}},
    "required": ["order"],
}


def refund_tool(**changes: Any) -> dict[str, Any]:
    config = {"inlineFunction": {"description": "Refund an order", "inputSchema": SCHEMA}}
    return {"type": "inline_function", "name": "refund", "config": config, **changes}


@pytest.mark.wire(
    "harness.create",
    "harness.names",
    "harness.answer",
    "harness.status",
    "harness.system-prompt",
    "harness.tools",
    "harness.environment",
    "harness.network",
    "harness.role",
    "model.default",
    "limit.iterations",
    "limit.timeout",
    "truncation.default",
    "session.lifecycle",
)
def test_creates_a_harness_with_awss_defaults(control: Any):
    before = datetime.now(UTC) - timedelta(seconds=2)
    answer = control.create_harness(harnessName="plain", executionRoleArn=ROLE)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert answer["ResponseMetadata"]["RequestId"]
    harness = answer["harness"]
    harness_id = harness["harnessId"]
    assert before < harness.pop("createdAt") <= datetime.now(UTC) + timedelta(seconds=1)
    assert harness.pop("updatedAt")
    prefix = f"arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}"
    assert harness == {
        "harnessId": harness_id,
        "harnessName": "plain",
        "arn": f"{prefix}:harness/{harness_id}",
        "status": "CREATING",
        "harnessVersion": "1",
        "executionRoleArn": ROLE,
        "model": {"bedrockModelConfig": {"modelId": "global.anthropic.claude-sonnet-4-6"}},
        "systemPrompt": [{"text": "You are a helpful assistant."}],
        "tools": [],
        "skills": [],
        "allowedTools": ["*"],
        "truncation": {
            "strategy": "sliding_window",
            "config": {"slidingWindow": {"messagesCount": 150}},
        },
        "memory": {"disabled": {}},
        "environment": {
            "agentCoreRuntimeEnvironment": {
                "agentRuntimeArn": f"{prefix}:runtime/harness_{harness_id}",
                "agentRuntimeName": "harness_plain",
                "agentRuntimeId": f"harness_{harness_id}",
                "lifecycleConfiguration": {
                    "idleRuntimeSessionTimeout": 900,
                    "maxLifetime": 28800,
                },
                "networkConfiguration": {"networkMode": "PUBLIC"},
            }
        },
        "maxIterations": 75,
        "timeoutSeconds": 3600,
    }


@pytest.mark.wire(
    "harness.answer",
    "harness.memory-disabled",
    "harness.environment",
    "harness.get",
    "session.storage",
)
def test_gives_back_everything_that_was_asked_for(control: Any):
    asked: dict[str, Any] = {
        "model": {
            "liteLlmModelConfig": {
                "modelId": "openai/gpt-5",
                "temperature": 0.25,
                "topP": 1.0,
                "maxTokens": 1000,
                "apiBase": "https://models.example/v1",
                "additionalParams": {"reasoning": None, "nested": {"effort": "low", "null": None}},
            }
        },
        "systemPrompt": [{"text": "Be kind."}, {"text": "Be brief: äöü."}],
        "tools": [refund_tool()],
        "allowedTools": ["@builtin", "@refund"],
        "truncation": {"strategy": "none"},
        "environmentVariables": {"STAGE": "test"},
        "maxIterations": 3,
        "maxTokens": 5000,
        "timeoutSeconds": 60,
        "memory": {"disabled": {}},
        "skills": [],
    }
    harness = control.create_harness(
        harnessName="full",
        executionRoleArn=ROLE,
        environment={
            "agentCoreRuntimeEnvironment": {
                "lifecycleConfiguration": {"idleRuntimeSessionTimeout": 60, "maxLifetime": 600},
                "filesystemConfigurations": [{"sessionStorage": {"mountPath": "/mnt/work/"}}],
            }
        },
        **asked,
    )["harness"]
    assert {name: harness[name] for name in asked} == asked
    runtime = harness["environment"]["agentCoreRuntimeEnvironment"]
    assert runtime["lifecycleConfiguration"] == {
        "idleRuntimeSessionTimeout": 60,
        "maxLifetime": 600,
    }
    assert runtime["filesystemConfigurations"] == [{"sessionStorage": {"mountPath": "/mnt/work"}}]
    harness["status"] = "READY"
    assert control.get_harness(harnessId=harness["harnessId"])["harness"] == harness
    version = control.get_harness(harnessId=harness["harnessId"], harnessVersion="1")
    assert version["harness"] == harness


@pytest.mark.wire("tools.inline", "tools.unnamed")
def test_names_unnamed_tools_and_unwraps_their_schemas(control: Any):
    wrapped = {"description": "Ask", "inputSchema": {"json": SCHEMA}}
    harness = control.create_harness(
        harnessName="unnamed",
        executionRoleArn=ROLE,
        tools=[refund_tool(), {"type": "inline_function", "config": {"inlineFunction": wrapped}}],
    )["harness"]
    assert harness["tools"][1]["name"] == "inline_function_1"
    assert harness["tools"][1]["config"]["inlineFunction"]["inputSchema"] == SCHEMA


@pytest.mark.wire("harness.token")
def test_a_repeated_token_gives_the_first_answer_and_refuses_another_request(control: Any):
    asked = {"harnessName": "once", "executionRoleArn": ROLE, "clientToken": TOKEN}
    first = control.create_harness(**asked)["harness"]
    assert control.create_harness(**asked)["harness"] == first
    with pytest.raises(control.exceptions.ValidationException) as refused:
        control.create_harness(**asked, maxIterations=3)
    assert refused.value.response["reason"] == "IdempotentParameterMismatchException"
    assert refused.value.response["fieldList"][0]["name"] == "clientToken"


@pytest.mark.wire("harness.name-taken")
def test_a_name_in_use_conflicts(control: Any):
    control.create_harness(harnessName="taken", executionRoleArn=ROLE)
    with pytest.raises(control.exceptions.ConflictException, match="taken") as refused:
        control.create_harness(harnessName="taken", executionRoleArn=ROLE)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


@pytest.mark.wire("harness.list")
def test_lists_in_pages(control: Any):
    made = [
        control.create_harness(harnessName=f"page_{i}", executionRoleArn=ROLE)["harness"]
        for i in range(3)
    ]
    pages = control.get_paginator("list_harnesses").paginate(PaginationConfig={"PageSize": 2})
    seen = [each for page in pages for each in page["harnesses"]]
    found = {each["harnessId"]: each for each in seen}
    assert len(found) == len(seen)
    summary = (
        "harnessId harnessName arn status createdAt updatedAt harnessVersion"  # HarnessSummary
    ).split()
    for harness in made:
        shown = {name: harness[name] for name in summary} | {"status": "READY"}
        assert found[harness["harnessId"]] == shown


@pytest.mark.wire("harness.list-default")
def test_a_page_has_fifty_unless_asked(control: Any):
    for number in range(51):
        control.create_harness(harnessName=f"many_{number}", executionRoleArn=ROLE)
    assert len(control.list_harnesses()["harnesses"]) == 50
    assert len(control.list_harnesses(maxResults=100)["harnesses"]) > 50


@pytest.mark.wire("harness.page-token")
def test_a_forged_page_token_is_refused(control: Any):
    with pytest.raises(control.exceptions.ValidationException) as refused:
        control.list_harnesses(nextToken="bm90LWEtdG9rZW4=")
    assert refused.value.response["fieldList"][0]["name"] == "nextToken"


@pytest.mark.wire("harness.delete-memory")
@pytest.mark.parametrize("choice", [True, False])
def test_deletes_a_harness_without_memory_whatever_should_become_of_one(control: Any, choice: bool):
    made = control.create_harness(harnessName=f"forgetful_{choice}", executionRoleArn=ROLE)
    harness_id = made["harness"]["harnessId"]
    control.delete_harness(harnessId=harness_id, deleteManagedMemory=choice)
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_harness(harnessId=harness_id)


@pytest.mark.wire("harness.delete")
def test_deletes_a_harness(control: Any):
    harness_id = control.create_harness(harnessName="short", executionRoleArn=ROLE)["harness"][
        "harnessId"
    ]
    assert control.delete_harness(harnessId=harness_id)["harness"]["status"] == "DELETING"
    with pytest.raises(control.exceptions.ResourceNotFoundException, match=harness_id):
        control.get_harness(harnessId=harness_id)
    assert control.create_harness(harnessName="short", executionRoleArn=ROLE)


def test_an_operation_that_is_not_served_says_so(control: Any):
    with pytest.raises(ClientError) as refused:
        control.list_memories()
    error: dict[str, Any] = cast("Any", refused.value).response
    assert error["Error"]["Code"] == "NotImplementedException"
    assert error["Error"]["Message"] == (
        "Operation ListMemories of bedrock-agentcore-control is not served by this Everloop"
    )
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 501


@pytest.mark.wire("truncation.summarization")
def test_summarization_is_kept_as_it_was_asked_for(control: Any):
    truncation = {
        "strategy": "summarization",
        "config": {
            "summarization": {
                "summaryRatio": 0.5,
                "preserveRecentMessages": 4,
                "summarizationSystemPrompt": "In one line.",
            }
        },
    }
    made = control.create_harness(
        harnessName="summed", executionRoleArn=ROLE, truncation=truncation
    )
    found = control.get_harness(harnessId=made["harness"]["harnessId"])
    assert found["harness"]["truncation"] == truncation
