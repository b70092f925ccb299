"""The token vault and the KMS key that it is kept under."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from api.context import Call, Context
from contracts.errors import AwsError, KeyRefused, ServiceError, invalid
from contracts.vault import KMS_PREFIX, TOKEN_VAULT
from store import KmsRing

log = logging.getLogger("api.vault")

_OWN_RING = (
    "the vault is kept under Everloop's own key ring; an operator moves it to KMS with "
    f"EVERLOOP_KEYRING={KMS_PREFIX}<key ARN>"
)


async def get_token_vault(context: Context, call: Call) -> Mapping[str, Any]:
    """`GetTokenVault`: the one vault, under Everloop's own key ring or under a key of KMS."""
    _check_vault(call)
    ring = context.ring
    if not isinstance(ring, KmsRing):
        return _shown({"keyType": "ServiceManagedKey"}, ring.created())
    choice = await context.store.token_vault.choice()
    if choice is None:
        made = await ring.created(ring.configured)
        if made is None:
            raise KeyRefused(f"the KMS key {ring.configured} does not exist", "NotFoundException")
        return _shown(_customer_managed(ring.configured), made)
    return _shown(_customer_managed(choice.kms_key_arn or ring.configured), choice.modified_at)


async def set_token_vault_cmk(context: Context, call: Call) -> Mapping[str, Any]:
    """`SetTokenVaultCMK`: new secrets go under the key at once, all others before the answer.

    When it is cut short, what was not wrapped anew still opens; asking again goes on.
    """
    _check_vault(call)
    wanted: dict[str, str] = call.params["kmsConfiguration"]
    ring = context.ring
    if not isinstance(ring, KmsRing):
        raise invalid("kmsConfiguration", _OWN_RING)
    if wanted["keyType"] != "CustomerManagedKey":
        raise invalid(
            "kmsConfiguration.keyType",
            "must be CustomerManagedKey: EVERLOOP_KEYRING keeps the vault in KMS",
        )
    key_arn = wanted.get("kmsKeyArn")
    if key_arn is None:
        raise invalid("kmsConfiguration.kmsKeyArn", "is required with CustomerManagedKey")
    if not ring.may_use(key_arn):
        raise invalid(
            "kmsConfiguration.kmsKeyArn",
            "must be a key of the AWS account whose key EVERLOOP_KEYRING names",
        )
    try:
        await ring.check(key_arn)
    except KeyRefused as refused:
        log.warning("a KMS key was not taken: %s", refused)
        raise invalid(
            "kmsConfiguration.kmsKeyArn", f"cannot be used: KMS answers {refused.code}"
        ) from None
    choice = await context.store.token_vault.choose(key_arn)
    await context.store.rotation.rewrap()
    return _shown(_customer_managed(key_arn), choice.modified_at)


async def reset_token_vault_key_material(context: Context, call: Call) -> Mapping[str, Any]:
    """`ResetTokenVaultKeyMaterial`: back to the configured key when the chosen one is deleted.

    What was under the deleted key never opens again; UpdateApiKeyCredentialProvider replaces it.
    """
    _check_vault(call)
    ring = context.ring
    if not isinstance(ring, KmsRing):
        raise invalid("tokenVaultId", _OWN_RING)
    key_arn = await context.store.token_vault.kms_key()
    if key_arn is None or key_arn == ring.configured:
        raise invalid(
            "tokenVaultId",
            "the vault is under the key that EVERLOOP_KEYRING names; only an operator changes that",
        )
    if await ring.created(key_arn) is not None:
        raise invalid(
            "tokenVaultId", f"the key {key_arn} still exists; enable it, or cancel its deletion"
        )
    choice = await context.store.token_vault.choose(None)
    return _shown(_customer_managed(ring.configured), choice.modified_at)


def _check_vault(call: Call) -> None:
    vault = call.params.get("tokenVaultId", TOKEN_VAULT)
    if vault != TOKEN_VAULT:
        raise ServiceError(
            AwsError.NOT_FOUND, f"Token vault {vault} does not exist; there is {TOKEN_VAULT}."
        )


def _customer_managed(key_arn: str) -> dict[str, str]:
    return {"keyType": "CustomerManagedKey", "kmsKeyArn": key_arn}


def _shown(configuration: Mapping[str, str], modified: datetime) -> Mapping[str, Any]:
    return {
        "tokenVaultId": TOKEN_VAULT,
        "kmsConfiguration": configuration,
        "lastModifiedDate": modified,
    }
