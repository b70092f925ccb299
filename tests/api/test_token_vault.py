"""The token vault's key through boto3, an API process, and a server that speaks KMS's protocol."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.settings import Settings
from contracts.vault import ApiKeyProviderArn
from store import Store, ring_of
from tests.api.conftest import ACCOUNT, client, start_api
from tests.api.test_keys import error_of
from tests.providers.kms import KmsServer

CONTROL = "bedrock-agentcore-control"
ARN = ApiKeyProviderArn("us-east-1", ACCOUNT, "openai")
ABSENT = f"arn:aws:kms:eu-west-1:111122223333:key/{'0' * 36}"


@pytest.fixture(scope="module")
def kms() -> Iterator[KmsServer]:
    made = KmsServer().start()
    yield made
    made.stop()


def customer_managed(key_arn: str | None = None) -> dict[str, str]:
    named = {} if key_arn is None else {"kmsKeyArn": key_arn}
    return {"keyType": "CustomerManagedKey", **named}


def reveal(data_dir: Path, env: dict[str, str]) -> str:
    """The key of the provider, as a worker that just started reads it."""

    async def read() -> str:
        settings = Settings.from_env({"EVERLOOP_DATA_DIR": str(data_dir), **env})
        store = await Store.open(settings.database_url, ring_of(settings))
        try:
            return await store.api_keys.reveal(ARN)
        finally:
            await store.close()

    return asyncio.run(read())


def test_under_its_own_ring_the_vault_takes_no_kms_key(control: Any) -> None:
    for ask in (
        lambda: control.set_token_vault_cmk(kmsConfiguration=customer_managed(ABSENT)),
        lambda: control.reset_token_vault_key_material(tokenVaultId="default"),
    ):
        name, status, message = error_of(ask)
        assert (name, status) == ("ValidationException", 400)
        assert "EVERLOOP_KEYRING=kms:" in message
    assert control.get_token_vault()["kmsConfiguration"] == {"keyType": "ServiceManagedKey"}


@pytest.mark.wire("credential.vault-key", "credential.vault-reset")
def test_the_vault_goes_from_one_kms_key_to_another(
    tmp_path: Path, kms: KmsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = kms.make_key(), kms.make_key()
    env = {**kms.env, "EVERLOOP_KEYRING": f"kms:{first}"}
    for name, value in kms.env.items():
        monkeypatch.setenv(name, value)
    running = start_api(tmp_path, **env)
    control = client(CONTROL, running.url)
    try:
        made = control.get_token_vault()
        assert made["kmsConfiguration"] == customer_managed(first)
        assert made["lastModifiedDate"] == datetime.fromtimestamp(1_700_000_000, UTC)

        control.create_api_key_credential_provider(name="openai", apiKey="planted")
        before = datetime.now(UTC) - timedelta(seconds=2)
        answer = control.set_token_vault_cmk(kmsConfiguration=customer_managed(second))
        assert answer["kmsConfiguration"] == customer_managed(second)
        assert answer["lastModifiedDate"] >= before
        shown = control.get_token_vault(tokenVaultId="default")
        assert shown["kmsConfiguration"] == customer_managed(second)
        # Nothing is left under the first, nor is anything new put there, by whatever process.
        kms.keys[first].enabled = False
        assert reveal(tmp_path, env) == "planted"
        control.update_api_key_credential_provider(name="openai", apiKey="renewed")
        assert reveal(tmp_path, env) == "renewed"

        def reset() -> Any:
            return control.reset_token_vault_key_material(tokenVaultId="default")

        name, _, message = error_of(reset)
        assert (name, "still exists" in message) == ("ValidationException", True)
        kms.keys[first].enabled = True
        del kms.keys[second]
        assert reset()["kmsConfiguration"] == customer_managed(first)
        control.update_api_key_credential_provider(name="openai", apiKey="again")
        assert reveal(tmp_path, env) == "again"
        assert error_of(reset)[0] == "ValidationException"

        def choose(configuration: dict[str, str], vault: str = "default") -> tuple[str, int, str]:
            return error_of(
                lambda: control.set_token_vault_cmk(
                    tokenVaultId=vault, kmsConfiguration=configuration
                )
            )

        disabled, foreign = kms.make_key(), kms.make_key(account="999900001111")
        kms.keys[disabled].enabled = False
        for configuration, told in (
            ({"keyType": "ServiceManagedKey"}, "must be CustomerManagedKey"),
            (customer_managed(), "kmsKeyArn"),
            (customer_managed(ABSENT), "KMS answers NotFoundException"),
            (customer_managed(disabled), "KMS answers DisabledException"),
            (customer_managed(foreign), "AWS account"),
        ):
            name, status, message = choose(configuration)
            assert (name, status, told in message) == ("ValidationException", 400, True), message
        assert choose(customer_managed(first), "mine")[0] == "ResourceNotFoundException"
        assert control.get_token_vault()["kmsConfiguration"] == customer_managed(first)

        kms.keys[first].enabled = False
        name, status, message = error_of(
            lambda: control.create_api_key_credential_provider(name="late", apiKey="planted")
        )
        assert (name, status) == ("InternalServerException", 500)
        assert first not in message
    finally:
        control.close()
        status, out, err = running.stop()
    assert status == 0
    assert f"DisabledException: {first} is disabled" in err
    assert "planted" not in out + err
