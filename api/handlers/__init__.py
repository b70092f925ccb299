"""The operations that are served, by service and name; every other one answers 501."""

from api.context import Handler
from api.handlers.credentials import (
    create_api_key_provider,
    delete_api_key_provider,
    get_api_key_provider,
    get_token_vault,
    list_api_key_providers,
    update_api_key_provider,
)
from api.handlers.harnesses import create_harness, delete_harness, get_harness, list_harnesses
from api.handlers.invoke import invoke_harness
from api.model import CONTROL, DATA

HANDLERS: dict[tuple[str, str], Handler] = {
    (CONTROL, "CreateHarness"): create_harness,
    (CONTROL, "GetHarness"): get_harness,
    (CONTROL, "ListHarnesses"): list_harnesses,
    (CONTROL, "DeleteHarness"): delete_harness,
    (CONTROL, "CreateApiKeyCredentialProvider"): create_api_key_provider,
    (CONTROL, "GetApiKeyCredentialProvider"): get_api_key_provider,
    (CONTROL, "ListApiKeyCredentialProviders"): list_api_key_providers,
    (CONTROL, "UpdateApiKeyCredentialProvider"): update_api_key_provider,
    (CONTROL, "DeleteApiKeyCredentialProvider"): delete_api_key_provider,
    (CONTROL, "GetTokenVault"): get_token_vault,
    (DATA, "InvokeHarness"): invoke_harness,
}
