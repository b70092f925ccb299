"""The operations that are served, by service and name; every other one answers 501."""

from api.context import Handler
from api.handlers.credentials import (
    create_api_key_provider,
    delete_api_key_provider,
    get_api_key_provider,
    list_api_key_providers,
    update_api_key_provider,
)
from api.handlers.endpoints import (
    create_harness_endpoint,
    delete_harness_endpoint,
    get_harness_endpoint,
    list_harness_endpoints,
    update_harness_endpoint,
)
from api.handlers.harnesses import (
    create_harness,
    delete_harness,
    get_harness,
    list_harness_versions,
    list_harnesses,
    update_harness,
)
from api.handlers.invoke import invoke_harness
from api.handlers.tags import list_tags_for_resource, tag_resource, untag_resource
from api.handlers.token_vault import (
    get_token_vault,
    reset_token_vault_key_material,
    set_token_vault_cmk,
)
from api.model import CONTROL, DATA

HANDLERS: dict[tuple[str, str], Handler] = {
    (CONTROL, "CreateHarness"): create_harness,
    (CONTROL, "GetHarness"): get_harness,
    (CONTROL, "ListHarnesses"): list_harnesses,
    (CONTROL, "ListHarnessVersions"): list_harness_versions,
    (CONTROL, "UpdateHarness"): update_harness,
    (CONTROL, "DeleteHarness"): delete_harness,
    (CONTROL, "CreateApiKeyCredentialProvider"): create_api_key_provider,
    (CONTROL, "GetApiKeyCredentialProvider"): get_api_key_provider,
    (CONTROL, "ListApiKeyCredentialProviders"): list_api_key_providers,
    (CONTROL, "UpdateApiKeyCredentialProvider"): update_api_key_provider,
    (CONTROL, "DeleteApiKeyCredentialProvider"): delete_api_key_provider,
    (CONTROL, "GetTokenVault"): get_token_vault,
    (CONTROL, "SetTokenVaultCMK"): set_token_vault_cmk,
    (CONTROL, "ResetTokenVaultKeyMaterial"): reset_token_vault_key_material,
    (CONTROL, "CreateHarnessEndpoint"): create_harness_endpoint,
    (CONTROL, "GetHarnessEndpoint"): get_harness_endpoint,
    (CONTROL, "ListHarnessEndpoints"): list_harness_endpoints,
    (CONTROL, "UpdateHarnessEndpoint"): update_harness_endpoint,
    (CONTROL, "DeleteHarnessEndpoint"): delete_harness_endpoint,
    (CONTROL, "TagResource"): tag_resource,
    (CONTROL, "UntagResource"): untag_resource,
    (CONTROL, "ListTagsForResource"): list_tags_for_resource,
    (DATA, "InvokeHarness"): invoke_harness,
}
