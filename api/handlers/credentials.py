"""API-key credential providers. No answer ever holds a key."""

from collections.abc import Mapping
from typing import Any

from api.context import Call, Context
from contracts.errors import invalid
from contracts.settings import Settings
from contracts.vault import ApiKeyProviderArn, ApiKeyProviderRecord

#: AWS documents no default for `maxResults`; its greatest value is 100.
DEFAULT_PAGE = 50

_NOT_SERVED = {
    "apiKeySecretConfig": "is not served: the vault keeps keys itself; give apiKey",
    "tags": "is not served",
}


async def create_api_key_provider(context: Context, call: Call) -> Mapping[str, Any]:
    """`CreateApiKeyCredentialProvider`: seals the key; the ARN is for `apiKeyArn`."""
    record = await context.store.api_keys.create(_arn(context, call), _api_key(call.params))
    return _identity(record)


async def get_api_key_provider(context: Context, call: Call) -> Mapping[str, Any]:
    """`GetApiKeyCredentialProvider`: everything but the key."""
    record = await context.store.api_keys.get(_arn(context, call))
    return _identity(record) | _times(record)


async def list_api_key_providers(context: Context, call: Call) -> Mapping[str, Any]:
    """`ListApiKeyCredentialProviders`: oldest first; the token goes on where a page ended."""
    records, after = await context.store.api_keys.list(
        context.settings.account,
        context.settings.region,
        limit=call.params.get("maxResults", DEFAULT_PAGE),
        after=call.params.get("nextToken"),
    )
    return {
        "credentialProviders": [_names(record) | _times(record) for record in records],
        "nextToken": after,
    }


async def update_api_key_provider(context: Context, call: Call) -> Mapping[str, Any]:
    """`UpdateApiKeyCredentialProvider`: replaces the key; the next model call uses the new one."""
    record = await context.store.api_keys.update(_arn(context, call), _api_key(call.params))
    return _identity(record) | _times(record)


async def delete_api_key_provider(context: Context, call: Call) -> Mapping[str, Any]:
    """`DeleteApiKeyCredentialProvider`: the key is gone; model calls that name it fail."""
    await context.store.api_keys.delete(_arn(context, call))
    return {}


def _arn(context: Context, call: Call) -> ApiKeyProviderArn:
    settings: Settings = context.settings
    return ApiKeyProviderArn(settings.region, settings.account, call.params["name"])


def _api_key(params: Mapping[str, Any]) -> str:
    for name, why in _NOT_SERVED.items():
        if params.get(name):
            raise invalid(name, why)
    if params.get("apiKeySecretSource", "MANAGED") != "MANAGED":
        raise invalid("apiKeySecretSource", "must be MANAGED: the vault keeps keys itself")
    key: str | None = params.get("apiKey")
    if not key:
        raise invalid("apiKey", "is required and must not be empty")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        # A key travels in a header; a newline at its end is how a file's content gets here.
        raise invalid("apiKey", "must be printable ASCII with no space or newline at its ends")
    return key


def _names(record: ApiKeyProviderRecord) -> dict[str, Any]:
    return {"name": record.arn.name, "credentialProviderArn": str(record.arn)}


def _identity(record: ApiKeyProviderRecord) -> dict[str, Any]:
    """The names, and an ARN for the secret: AWS's answers have one. It names nothing to fetch."""
    arn = record.arn
    secret = (
        f"arn:{arn.partition}:secretsmanager:{arn.region}:{arn.account}"
        f":secret:bedrock-agentcore-identity!{arn.vault}/apikey/{arn.name}-{record.secret_id}"
    )
    return {
        **_names(record),
        "apiKeySecretArn": {"secretArn": secret},
        "apiKeySecretSource": "MANAGED",
    }


def _times(record: ApiKeyProviderRecord) -> dict[str, Any]:
    return {"createdTime": record.created_at, "lastUpdatedTime": record.updated_at}
