"""OAuth 2.0 Protected Resource Metadata (RFC 9728) of a harness: whom to ask for a token.

AWS serves the same of an agent runtime and names it in `WWW-Authenticate`. It is public.
"""

from typing import Any
from urllib.parse import quote

from api.authorizing import Target, authorizer_of
from api.context import Context
from api.own.request import OwnRequest
from contracts.errors import AwsError, ServiceError
from contracts.ids import HarnessArn
from contracts.records import DEFAULT_ENDPOINT


async def protected_resource(context: Context, request: OwnRequest) -> dict[str, Any]:
    """The metadata of a harness that takes tokens.

    Raises:
        ServiceError: ResourceNotFoundException for every other harness, whether it exists or not.
    """
    settings = context.settings
    arn = HarnessArn(settings.region, settings.account, request.labels["harnessId"])
    qualifier = request.query.get("qualifier", DEFAULT_ENDPOINT)
    target = Target(arn, qualifier, "", "")
    authorizer = await authorizer_of(context.store, settings, target)
    if authorizer is None:
        raise ServiceError(AwsError.NOT_FOUND, "There is no such protected resource.")
    base = f"{request.scheme}://{request.headers.get('host', '')}"
    return {
        "resource": f"{base}/harnesses/invoke?harnessArn={quote(str(arn), safe='')}",
        "authorization_servers": [authorizer.authorization_server],
        "bearer_methods_supported": ["header"],
        **({"scopes_supported": authorizer.advertised_scopes} if authorizer.allowed_scopes else {}),
    }
