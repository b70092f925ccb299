"""Endpoints through boto3 and a real server."""

from typing import Any

import pytest

from tests.api.conftest import ACCOUNT, ROLE
from tests.api.test_harnesses import TOKEN


def made(control: Any, name: str, versions: int = 1) -> str:
    """A harness with so many versions."""
    created = control.create_harness(harnessName=name, executionRoleArn=ROLE)
    harness_id = created["harness"]["harnessId"]
    for limit in range(2, versions + 1):
        control.update_harness(harnessId=harness_id, maxIterations=limit)
    return harness_id


def create(control: Any, harness_id: str, name: str, **members: Any) -> dict[str, Any]:
    answer = control.create_harness_endpoint(harnessId=harness_id, endpointName=name, **members)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    return answer["endpoint"]


def version_of(control: Any, harness_id: str, name: str) -> tuple[str, str]:
    shown = control.get_harness_endpoint(harnessId=harness_id, endpointName=name)["endpoint"]
    return shown["liveVersion"], shown["targetVersion"]


@pytest.mark.wire("endpoint.default", "endpoint.create", "endpoint.status", "endpoint.get")
def test_default_follows_the_newest_version_and_named_ones_stay(control: Any):
    harness_id = made(control, "followed", versions=2)
    pinned = create(control, harness_id, "prod", description="What customers use")
    times = {name: pinned[name] for name in ("createdAt", "updatedAt")}
    ready = control.get_harness_endpoint(harnessId=harness_id, endpointName="prod")["endpoint"]
    assert pinned["status"] == "CREATING" and "liveVersion" not in pinned
    assert ready == {
        "harnessId": harness_id,
        "harnessName": "followed",
        "endpointName": "prod",
        "arn": f"arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}:harness/{harness_id}"
        "/harness-endpoint/prod",
        "status": "READY",
        "liveVersion": "2",
        "targetVersion": "2",
        "description": "What customers use",
        **times,
    }
    control.update_harness(harnessId=harness_id, maxIterations=3)
    assert version_of(control, harness_id, "DEFAULT") == ("3", "3")
    assert version_of(control, harness_id, "prod") == ("2", "2")


@pytest.mark.wire("endpoint.update")
def test_promotes_and_rolls_back(control: Any):
    harness_id = made(control, "promoted", versions=3)
    first = create(control, harness_id, "prod", targetVersion="1", description="d")

    def point(version: str) -> dict[str, Any]:
        answer = control.update_harness_endpoint(
            harnessId=harness_id, endpointName="prod", targetVersion=version
        )
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert answer["endpoint"]["status"] == "UPDATING"
        assert answer["endpoint"]["targetVersion"] == version != answer["endpoint"]["liveVersion"]
        return now()

    def now() -> dict[str, Any]:
        return control.get_harness_endpoint(harnessId=harness_id, endpointName="prod")["endpoint"]

    promoted = point("3")
    assert (promoted["liveVersion"], promoted["description"]) == ("3", "d")
    assert promoted["createdAt"] == first["createdAt"]
    assert promoted["updatedAt"] > first["updatedAt"]
    assert point("2")["liveVersion"] == "2"
    described = control.update_harness_endpoint(
        harnessId=harness_id, endpointName="prod", description="e"
    )["endpoint"]
    assert (described["liveVersion"], described["description"]) == ("2", "e")


@pytest.mark.wire("endpoint.default")
def test_default_is_not_made_changed_or_deleted(control: Any):
    harness_id = made(control, "fixed", versions=2)
    with pytest.raises(control.exceptions.ConflictException, match="DEFAULT"):
        create(control, harness_id, "DEFAULT")
    with pytest.raises(control.exceptions.ValidationException, match="newest version"):
        control.update_harness_endpoint(
            harnessId=harness_id, endpointName="DEFAULT", targetVersion="1"
        )
    with pytest.raises(control.exceptions.ValidationException, match="newest version"):
        control.delete_harness_endpoint(harnessId=harness_id, endpointName="DEFAULT")
    assert version_of(control, harness_id, "DEFAULT") == ("2", "2")


@pytest.mark.wire("endpoint.name-taken", "endpoint.missing-version", "endpoint.get")
def test_a_name_in_use_conflicts_and_what_is_missing_is_named(control: Any):
    harness_id = made(control, "strict")
    create(control, harness_id, "prod")
    exceptions = control.exceptions
    with pytest.raises(exceptions.ConflictException, match="prod") as refused:
        create(control, harness_id, "prod")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    with pytest.raises(exceptions.ResourceNotFoundException, match="version 2"):
        create(control, harness_id, "next", targetVersion="2")
    with pytest.raises(exceptions.ResourceNotFoundException, match="version 9"):
        control.update_harness_endpoint(
            harnessId=harness_id, endpointName="prod", targetVersion="9"
        )
    with pytest.raises(exceptions.ResourceNotFoundException, match="DEFAULT, prod"):
        control.get_harness_endpoint(harnessId=harness_id, endpointName="canary")
    with pytest.raises(exceptions.ResourceNotFoundException, match="nobody"):
        create(control, "nobody-aaaaaaaaaa", "prod")
    with pytest.raises(exceptions.ResourceNotFoundException, match="nobody"):
        control.list_harness_endpoints(harnessId="nobody-aaaaaaaaaa")


@pytest.mark.wire("harness.quotas", "endpoint.list")
def test_a_harness_has_at_most_ten_and_lists_them_in_pages(control: Any):
    harness_id = made(control, "crowded")
    names = [f"e{number}" for number in range(10)]
    for name in names:
        create(control, harness_id, name)
    with pytest.raises(control.exceptions.ServiceQuotaExceededException, match="10 endpoints"):
        create(control, harness_id, "one_more")
    first = control.list_harness_endpoints(harnessId=harness_id, maxResults=4)
    control.delete_harness_endpoint(harnessId=harness_id, endpointName="e0")
    create(control, harness_id, "late")
    seen = first["endpoints"]
    while "nextToken" in first:
        first = control.list_harness_endpoints(
            harnessId=harness_id, maxResults=4, nextToken=first["nextToken"]
        )
        seen += first["endpoints"]
    assert [each["endpointName"] for each in seen] == ["DEFAULT", *names, "late"]


@pytest.mark.wire("harness.delete-endpoints", "endpoint.delete")
def test_a_harness_with_named_endpoints_is_not_deleted(control: Any):
    harness_id = made(control, "guarded")
    create(control, harness_id, "prod")
    create(control, harness_id, "canary")
    with pytest.raises(control.exceptions.ConflictException, match="prod, canary"):
        control.delete_harness(harnessId=harness_id)
    for name in ("prod", "canary"):
        gone = control.delete_harness_endpoint(harnessId=harness_id, endpointName=name)
        assert gone["endpoint"]["status"] == "DELETING"
        with pytest.raises(control.exceptions.ResourceNotFoundException, match=name):
            control.delete_harness_endpoint(harnessId=harness_id, endpointName=name)
    assert control.delete_harness(harnessId=harness_id)["harness"]["status"] == "DELETING"
    with pytest.raises(control.exceptions.ResourceNotFoundException, match=harness_id):
        control.get_harness_endpoint(harnessId=harness_id, endpointName="DEFAULT")


@pytest.mark.wire("endpoint.token")
def test_repeated_tokens_answer_as_the_first_time(control: Any):
    harness_id = made(control, "tokens", versions=2)
    which = {"harnessId": harness_id, "endpointName": "prod", "clientToken": TOKEN}
    created = control.create_harness_endpoint(**which)["endpoint"]
    updated = control.update_harness_endpoint(**which, targetVersion="1")["endpoint"]
    assert control.create_harness_endpoint(**which)["endpoint"] == created
    with pytest.raises(control.exceptions.ValidationException) as refused:
        control.update_harness_endpoint(**which, targetVersion="2")
    assert refused.value.response["reason"] == "IdempotentParameterMismatchException"
    deleted = control.delete_harness_endpoint(**which)["endpoint"]
    assert control.delete_harness_endpoint(**which)["endpoint"] == deleted
    assert control.update_harness_endpoint(**which, targetVersion="1")["endpoint"] == updated
