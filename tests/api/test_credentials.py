"""API-key credential providers and the token vault through boto3 and a real server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.api.conftest import ACCOUNT, ApiProcess, client, start_api
from tests.api.raw import call

KEY = "sk-do-not-show-me-0123456789"
PREFIX = f"arn:aws:bedrock-agentcore:us-east-1:{ACCOUNT}:token-vault/default"


def arn(name: str) -> str:
    return f"{PREFIX}/apikeycredentialprovider/{name}"


def code(caught: Any) -> str:
    return str(caught.value.response["Error"]["Code"])


def without_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


@pytest.mark.wire(
    "credential.create",
    "credential.arn",
    "credential.secret-arn",
    "credential.get",
    "credential.update",
    "credential.delete",
)
def test_a_provider_lives_as_on_aws(control: Any):
    before = datetime.now(UTC) - timedelta(seconds=2)
    created = control.create_api_key_credential_provider(name="openai", apiKey=KEY)
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    secret = created["apiKeySecretArn"]["secretArn"]
    assert without_metadata(created) == {
        "name": "openai",
        "credentialProviderArn": arn("openai"),
        "apiKeySecretArn": {"secretArn": secret},
        "apiKeySecretSource": "MANAGED",
    }
    assert secret.startswith(f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:")

    got = without_metadata(control.get_api_key_credential_provider(name="openai"))
    assert before < got["createdTime"] == got["lastUpdatedTime"] < before + timedelta(seconds=30)
    assert got.items() >= without_metadata(created).items()

    updated = control.update_api_key_credential_provider(name="openai", apiKey="second-" + KEY)
    assert updated["createdTime"] == got["createdTime"] < updated["lastUpdatedTime"]
    assert updated["apiKeySecretArn"] == got["apiKeySecretArn"]

    listed = control.list_api_key_credential_providers()["credentialProviders"]
    assert listed == [
        {
            "name": "openai",
            "credentialProviderArn": arn("openai"),
            "createdTime": got["createdTime"],
            "lastUpdatedTime": updated["lastUpdatedTime"],
        }
    ]
    gone = control.delete_api_key_credential_provider(name="openai")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(control.exceptions.ResourceNotFoundException, match=arn("openai")):
        control.get_api_key_credential_provider(name="openai")
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.delete_api_key_credential_provider(name="openai")


@pytest.mark.wire("credential.taken")
def test_a_name_that_is_taken_is_a_conflict(control: Any):
    control.create_api_key_credential_provider(name="taken", apiKey=KEY)
    with pytest.raises(control.exceptions.ConflictException, match="taken"):
        control.create_api_key_credential_provider(name="taken", apiKey=KEY)
    control.delete_api_key_credential_provider(name="taken")


@pytest.mark.wire("credential.list")
def test_the_paginator_sees_each_once(control: Any):
    made = [f"page-{number}" for number in range(5)]
    for name in made:
        control.create_api_key_credential_provider(name=name, apiKey=KEY)
    pages = control.get_paginator("list_api_key_credential_providers").paginate(
        PaginationConfig={"PageSize": 2}
    )
    assert [one["name"] for page in pages for one in page["credentialProviders"]] == made
    for name in made:
        control.delete_api_key_credential_provider(name=name)


@pytest.mark.wire("credential.get")
def test_times_are_numbers_as_the_model_says(api: ApiProcess, control: Any):
    control.create_api_key_credential_provider(name="times", apiKey=KEY)
    path = "/identities/GetApiKeyCredentialProvider"
    answer = call(api.port, "POST", path, {"name": "times"}).json
    assert isinstance(answer["createdTime"], int | float)
    vault = call(api.port, "POST", "/identities/get-token-vault", {}).json
    assert isinstance(vault["lastModifiedDate"], int | float)
    control.delete_api_key_credential_provider(name="times")


@pytest.mark.wire("credential.vault")
def test_the_token_vault_is_the_one_that_aws_makes(control: Any):
    vault = control.get_token_vault()
    assert vault["tokenVaultId"] == "default"
    assert vault["kmsConfiguration"] == {"keyType": "ServiceManagedKey"}
    assert vault["lastModifiedDate"] <= datetime.now(UTC)
    assert control.get_token_vault(tokenVaultId="default")["tokenVaultId"] == "default"
    with pytest.raises(control.exceptions.ResourceNotFoundException, match="mine"):
        control.get_token_vault(tokenVaultId="mine")


@pytest.mark.wire("credential.external", "credential.bad-key")
@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, "apiKey"),
        ({"apiKey": ""}, "apiKey"),
        ({"apiKey": f"{KEY}\n"}, "apiKey"),
        ({"apiKey": f" {KEY}"}, "apiKey"),
        ({"apiKey": f"{KEY}é"}, "apiKey"),
        ({"apiKey": 7}, "apiKey"),
        ({"apiKey": KEY, "apiKeySecretSource": "EXTERNAL"}, "apiKeySecretSource"),
        ({"apiKeySecretConfig": {"secretId": "a", "jsonKey": "b"}}, "apiKeySecretConfig"),
        ({"apiKey": KEY, "tags": {"a": "b"}}, "tags"),
        ({"apiKey": KEY, "name": "two words"}, "name"),
    ],
)
def test_bad_requests_name_the_member_and_show_no_key(
    api: ApiProcess, members: dict[str, Any], field: str
):
    path = "/identities/CreateApiKeyCredentialProvider"
    answer = call(api.port, "POST", path, {"name": "bad", **members})
    assert (answer.status, answer.error, answer.fields) == (400, "ValidationException", [field])
    assert KEY.encode() not in answer.body


@pytest.mark.wire("credential.create")
def test_a_key_is_in_no_answer_no_log_and_no_file(tmp_path: Path):
    running = start_api(tmp_path)
    control = client("bedrock-agentcore-control", running.url)
    answers = [
        control.create_api_key_credential_provider(name="a", apiKey=KEY),
        control.update_api_key_credential_provider(name="a", apiKey=KEY),
        control.get_api_key_credential_provider(name="a"),
        control.list_api_key_credential_providers(),
    ]
    with pytest.raises(ClientError) as caught:
        control.create_api_key_credential_provider(name="a", apiKey=KEY)
    assert code(caught) == "ConflictException"
    control.close()
    _, out, err = running.stop()
    assert KEY not in f"{answers}{caught.value}{out}{err}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "keyring.json" in files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_key_ring_that_cannot_be_used_is_told_to_the_operator(tmp_path: Path):
    running = start_api(tmp_path, EVERLOOP_KEYRING="none")
    body = {"name": "a", "apiKey": KEY}
    answer = call(running.port, "POST", "/identities/CreateApiKeyCredentialProvider", body)
    _, _, err = running.stop()
    assert (answer.status, answer.error) == (500, "InternalServerException")
    assert "key ring" in answer.json["message"]
    assert "EVERLOOP_KEYRING is not a key ring" in err
