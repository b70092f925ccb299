"""Tags through boto3 and a real server."""

from typing import Any

import pytest

from tests.api.conftest import ACCOUNT, ROLE
from tests.api.test_harnesses import TOKEN

PREFIX = f"arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}"


def made(control: Any, name: str, **members: Any) -> dict[str, Any]:
    return control.create_harness(harnessName=name, executionRoleArn=ROLE, **members)["harness"]


def tags(control: Any, arn: str) -> dict[str, str]:
    return control.list_tags_for_resource(resourceArn=arn)["tags"]


@pytest.mark.wire("tags.set", "tags.create")
def test_tags_a_harness(control: Any):
    arn = made(control, "tagged", tags={"team": "support", "stage": ""})["arn"]
    assert tags(control, arn) == {"team": "support", "stage": ""}
    answer = control.tag_resource(resourceArn=arn, tags={"stage": "test", "cost/centre": "7 b"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert tags(control, arn) == {"team": "support", "stage": "test", "cost/centre": "7 b"}
    answer = control.untag_resource(resourceArn=arn, tagKeys=["team", "cost/centre", "absent"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert tags(control, arn) == {"stage": "test"}
    control.untag_resource(resourceArn=arn, tagKeys=[])
    assert tags(control, arn) == {"stage": "test"}


@pytest.mark.wire("tags.create", "tags.propagate")
def test_an_endpoint_has_tags_of_its_own_and_default_those_given_at_create(control: Any):
    harness = made(control, "tagged_endpoints", tags={"team": "a"})
    where = {"harnessId": harness["harnessId"], "endpointName": "prod"}
    endpoint = control.create_harness_endpoint(**where, tags={"stage": "prod"})["endpoint"]
    assert tags(control, endpoint["arn"]) == {"stage": "prod"}
    assert tags(control, harness["arn"]) == {"team": "a"}
    assert tags(control, f"{harness['arn']}/harness-endpoint/DEFAULT") == {"team": "a"}
    control.delete_harness_endpoint(**where)
    with pytest.raises(control.exceptions.ResourceNotFoundException, match="prod"):
        tags(control, endpoint["arn"])
    again = control.create_harness_endpoint(**where)["endpoint"]
    assert tags(control, again["arn"]) == {}


@pytest.mark.wire("tags.missing")
def test_a_deleted_harness_has_no_tags(control: Any):
    harness = made(control, "untagged", tags={"a": "b"})
    control.delete_harness(harnessId=harness["harnessId"])
    for call in (
        lambda: tags(control, harness["arn"]),
        lambda: control.tag_resource(resourceArn=harness["arn"], tags={"a": "c"}),
        lambda: control.untag_resource(resourceArn=harness["arn"], tagKeys=["a"]),
    ):
        with pytest.raises(control.exceptions.ResourceNotFoundException):
            call()


@pytest.mark.wire("tags.bounds")
def test_a_resource_has_at_most_fifty(control: Any):
    arn = made(control, "fifty", tags={f"k{number}": "v" for number in range(50)})["arn"]
    control.tag_resource(resourceArn=arn, tags={"k0": "changed"})
    with pytest.raises(control.exceptions.ServiceQuotaExceededException, match="50"):
        control.tag_resource(resourceArn=arn, tags={"k50": "v"})
    assert tags(control, arn)["k0"] == "changed"


@pytest.mark.wire("tags.bounds")
def test_reserved_keys_are_refused_everywhere(control: Any):
    invalid = control.exceptions.ValidationException
    reserved = {"AWS:team": "x"}
    with pytest.raises(invalid, match="reserved"):
        made(control, "reserved", tags=reserved)
    harness = made(control, "reserved")
    with pytest.raises(invalid, match="reserved"):
        control.tag_resource(resourceArn=harness["arn"], tags=reserved)
    with pytest.raises(invalid, match="reserved"):
        control.create_harness_endpoint(
            harnessId=harness["harnessId"], endpointName="prod", tags=reserved
        )


def test_tags_are_part_of_what_a_token_stands_for(control: Any):
    made(control, "token_tags", tags={"a": "b"}, clientToken=f"{TOKEN}t")
    with pytest.raises(control.exceptions.ValidationException) as refused:
        made(control, "token_tags", tags={"a": "c"}, clientToken=f"{TOKEN}t")
    assert refused.value.response["reason"] == "IdempotentParameterMismatchException"


@pytest.mark.wire("tags.missing")
def test_arns_of_other_things_places_and_accounts_are_refused(control: Any):
    missing = control.exceptions.ResourceNotFoundException
    with pytest.raises(missing, match="not the ARN of a harness"):
        tags(control, f"{PREFIX}:runtime/agent-abcdefghij")
    with pytest.raises(missing, match="eu-west-1"):
        tags(control, f"{PREFIX.replace('us-east-1', 'eu-west-1')}:harness/agent-abcdefghij")
    with pytest.raises(control.exceptions.AccessDeniedException):
        tags(control, f"{PREFIX.replace(ACCOUNT, '1' * 12)}:harness/agent-abcdefghij")
