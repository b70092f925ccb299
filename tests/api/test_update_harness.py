"""UpdateHarness and versions through boto3 and a real server."""

from typing import Any

import pytest

from tests.api.conftest import ROLE
from tests.api.raw import call
from tests.api.test_harnesses import TOKEN, refund_tool

RUNTIME = "agentCoreRuntimeEnvironment"


def made(control: Any, name: str, **members: Any) -> dict[str, Any]:
    """A harness that is READY."""
    created = control.create_harness(harnessName=name, executionRoleArn=ROLE, **members)["harness"]
    return {**created, "status": "READY"}


@pytest.mark.wire("harness.update", "version.each-update", "harness.get")
def test_an_update_makes_a_version_and_keeps_what_it_does_not_name(control: Any):
    first = made(
        control,
        "patched",
        systemPrompt=[{"text": "One"}, {"text": "Two"}],
        tools=[refund_tool()],
        allowedTools=["shell", "@refund"],
        truncation={"strategy": "none"},
        environmentVariables={"A": "1", "B": "2"},
        maxIterations=3,
        maxTokens=50,
        timeoutSeconds=60,
    )
    changed: dict[str, Any] = {
        "systemPrompt": [{"text": "Three"}],
        "environmentVariables": {"C": "3"},
        "allowedTools": ["@refund"],
        "maxIterations": 4,
        "executionRoleArn": f"{ROLE}2",
    }
    answer = control.update_harness(harnessId=first["harnessId"], **changed)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    second = answer["harness"]
    assert second == {
        **first,
        **changed,
        "status": "UPDATING",
        "harnessVersion": "2",
        "updatedAt": second["updatedAt"],
    }
    second["status"] = "READY"
    assert second["updatedAt"] > first["updatedAt"]
    get = control.get_harness
    assert get(harnessId=first["harnessId"])["harness"] == second
    assert get(harnessId=first["harnessId"], harnessVersion="1")["harness"] == first
    assert get(harnessId=first["harnessId"], harnessVersion="2")["harness"] == second


@pytest.mark.wire("harness.update")
def test_an_empty_list_or_map_replaces_the_whole(control: Any):
    harness_id = made(control, "emptied", tools=[refund_tool()], environmentVariables={"A": "1"})[
        "harnessId"
    ]
    updated = control.update_harness(harnessId=harness_id, tools=[], environmentVariables={})
    assert updated["harness"]["tools"] == []
    assert "environmentVariables" not in updated["harness"]


@pytest.mark.wire("harness.update-environment")
def test_parts_of_the_environment_are_kept_or_replaced_each_by_itself(control: Any):
    mounts = [{"sessionStorage": {"mountPath": "/mnt/work"}}]
    lifecycle = {"idleRuntimeSessionTimeout": 600, "maxLifetime": 6000}
    harness_id = made(
        control,
        "housed",
        environment={
            RUNTIME: {"filesystemConfigurations": mounts, "lifecycleConfiguration": lifecycle}
        },
    )["harnessId"]

    def update(**parts: Any) -> dict[str, Any]:
        answer = control.update_harness(harnessId=harness_id, environment={RUNTIME: parts})
        return answer["harness"]["environment"][RUNTIME]

    after = update(lifecycleConfiguration={"maxLifetime": 7000})
    assert after["lifecycleConfiguration"] == {**lifecycle, "maxLifetime": 7000}
    assert after["filesystemConfigurations"] == mounts
    assert update(lifecycleConfiguration={"maxLifetime": 60})["lifecycleConfiguration"] == {
        "idleRuntimeSessionTimeout": 60,
        "maxLifetime": 60,
    }
    assert "filesystemConfigurations" not in update(filesystemConfigurations=[])
    with pytest.raises(control.exceptions.ValidationException, match="maxLifetime"):
        update(lifecycleConfiguration={"idleRuntimeSessionTimeout": 61})


@pytest.mark.wire("harness.update-empty-wrapper")
@pytest.mark.parametrize("member", ["memory", "environmentArtifact", "authorizerConfiguration"])
def test_a_wrapper_without_a_value_clears(control: Any, member: str):
    harness = made(control, f"cleared_{member}")
    updated = control.update_harness(harnessId=harness["harnessId"], **{member: {}})["harness"]
    assert updated["harnessVersion"] == "2"
    assert updated["memory"] == {"disabled": {}}
    assert member == "memory" or member not in updated


@pytest.mark.wire("harness.update-wrappers")
def test_null_in_a_wrapper_clears_too(control: Any, api: Any):
    harness_id = made(control, "nulled")["harnessId"]
    body = {"memory": {"optionalValue": None}}
    answer = call(api.port, "PATCH", f"/harnesses/{harness_id}", body)
    assert (answer.status, answer.json["harness"]["harnessVersion"]) == (200, "2")


@pytest.mark.wire("harness.update-wrappers", "harness.image")
def test_a_wrapped_value_is_read_as_at_creation(control: Any):
    harness_id = made(control, "wrapped")["harnessId"]
    update = control.update_harness
    disabled = update(harnessId=harness_id, memory={"optionalValue": {"disabled": {}}})
    assert disabled["harness"]["memory"] == {"disabled": {}}
    uri = "public.ecr.aws/agents/agent:1"
    artifact = {"containerConfiguration": {"containerUri": uri}}
    with pytest.raises(control.exceptions.ValidationException) as refused:
        update(harnessId=harness_id, environmentArtifact={"optionalValue": artifact})
    assert refused.value.response["fieldList"][0]["name"] == (
        "environmentArtifact.containerConfiguration.containerUri"
    )


@pytest.mark.wire("version.refused-update")
def test_a_refused_update_makes_no_version(control: Any):
    harness_id = made(control, "refused")["harnessId"]
    with pytest.raises(control.exceptions.ValidationException, match="maxIterations"):
        control.update_harness(harnessId=harness_id, maxIterations=0)
    assert control.get_harness(harnessId=harness_id)["harness"]["harnessVersion"] == "1"


@pytest.mark.wire("harness.update-token")
def test_a_repeated_token_updates_once(control: Any):
    harness_id = made(control, "updated_once")["harnessId"]
    asked = {"harnessId": harness_id, "maxIterations": 5, "clientToken": TOKEN}
    first = control.update_harness(**asked)["harness"]
    third = control.update_harness(harnessId=harness_id, maxIterations=6)["harness"]
    assert (first["harnessVersion"], third["harnessVersion"]) == ("2", "3")
    assert control.update_harness(**asked)["harness"] == first
    with pytest.raises(control.exceptions.ValidationException) as refused:
        control.update_harness(**{**asked, "maxIterations": 7})
    assert refused.value.response["reason"] == "IdempotentParameterMismatchException"


@pytest.mark.wire("version.list")
def test_lists_versions_newest_first_in_pages(control: Any):
    first = made(control, "versioned")
    harness_id = first["harnessId"]
    for limit in range(2, 6):
        control.update_harness(harnessId=harness_id, maxIterations=limit)
    pages = control.get_paginator("list_harness_versions").paginate(
        harnessId=harness_id, PaginationConfig={"PageSize": 2}
    )
    seen = [each for page in pages for each in page["harnessVersions"]]
    assert [each["harnessVersion"] for each in seen] == ["5", "4", "3", "2", "1"]
    assert seen[-1] == {
        name: first[name]
        for name in "harnessId harnessName arn harnessVersion status createdAt updatedAt".split()
    }
    assert all(each["createdAt"] == each["updatedAt"] for each in seen)
    assert len({each["createdAt"] for each in seen}) == 5


def test_what_is_not_there_is_not_updated_or_listed(control: Any):
    missing = "nobody-aaaaaaaaaa"
    with pytest.raises(control.exceptions.ResourceNotFoundException, match=missing):
        control.update_harness(harnessId=missing)
    with pytest.raises(control.exceptions.ResourceNotFoundException, match=missing):
        control.list_harness_versions(harnessId=missing)
