"""`authorizerConfiguration` of create and update requests to `contracts.authorizer`."""

from typing import Any
from urllib.parse import urlsplit

from api.guard import is_loopback
from contracts.authorizer import AuthorizerConfiguration
from contracts.errors import invalid
from contracts.faults import Faults
from contracts.harness import HarnessConfig

_PATH = "authorizerConfiguration.customJWTAuthorizer"

#: What they would reach into is AWS's: VPCs, S3, Secrets Manager, AgentCore's workloads.
_NOT_SERVED = (
    "privateEndpoint",
    "privateEndpointOverrides",
    "certificateConfigurations",
    "allowedWorkloadConfiguration",
)
_CHECKS = ("allowedAudience", "allowedClients", "allowedScopes", "customClaims")
#: AWS names no bound. An authorizer is read and judged with every call.
MAX_LISTED = 100

#: The member of `claimMatchValue` by a claim's type and operator; other pairs mean nothing (AWS's
#: CDK refuses them too).
_MATCH_MEMBER = {
    ("STRING", "EQUALS"): "matchValueString",
    ("STRING_ARRAY", "CONTAINS"): "matchValueString",
    ("STRING_ARRAY", "CONTAINS_ANY"): "matchValueStringList",
}


def read_authorizer(wire: dict[str, Any], faults: Faults) -> AuthorizerConfiguration | None:
    """The authorizer that a request asks for; None when something is at fault."""
    jwt: dict[str, Any] = wire["customJWTAuthorizer"]
    for name in _NOT_SERVED:
        if name in jwt:
            faults.add(f"{_PATH}.{name}", "is not served; leave it out")
    _check_url(jwt["discoveryUrl"], faults)
    if not any(jwt.get(name) for name in _CHECKS):
        faults.add(_PATH, f"must have at least one of {', '.join(_CHECKS)} with at least one item")
    for name in _CHECKS:
        if len(jwt.get(name, ())) > MAX_LISTED:
            faults.add(f"{_PATH}.{name}", f"must have at most {MAX_LISTED} items")
    for scope in jwt.get("advertisedScopeMapping", {}):
        if scope not in jwt.get("allowedScopes", ()):
            faults.add(f"{_PATH}.advertisedScopeMapping[{scope}]", "is none of allowedScopes")
    for index, claim in enumerate(jwt.get("customClaims", ())):
        _check_claim(claim, f"{_PATH}.customClaims[{index}]", faults)
    return None if faults else AuthorizerConfiguration.model_validate(wire)


def check_reach(config: HarnessConfig, *, local: bool) -> None:
    """Refuse a provider that this API would not ask (`api.provider_fetch`).

    Raises:
        ServiceError: ValidationException naming `discoveryUrl`.
    """
    found = config.authorizer_configuration
    if found and not local and found.custom_jwt_authorizer.discovery_url.startswith("http:"):
        raise invalid(
            f"{_PATH}.discoveryUrl",
            "must begin with https://: this API does not serve this machine only",
        )


def _check_url(url: str, faults: Faults) -> None:
    path = f"{_PATH}.discoveryUrl"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        faults.add(path, "must be a URL")
        return
    if not host or port == 0:
        faults.add(path, "must name a host")
    if parts.username is not None or parts.password is not None:
        faults.add(path, "must hold no user or password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        faults.add(path, "must begin with https://; http:// is for a provider on loopback")


def _check_claim(claim: dict[str, Any], path: str, faults: Faults) -> None:
    kind = claim["inboundTokenClaimValueType"]
    match = claim["authorizingClaimMatchValue"]
    operator = match["claimMatchOperator"]
    member = _MATCH_MEMBER.get((kind, operator))
    if member is None:
        allowed = "EQUALS" if kind == "STRING" else "CONTAINS or CONTAINS_ANY"
        faults.add(
            f"{path}.authorizingClaimMatchValue.claimMatchOperator",
            f"must be {allowed} for a claim of type {kind}, not {operator}",
        )
    elif member not in match["claimMatchValue"]:
        faults.add(
            f"{path}.authorizingClaimMatchValue.claimMatchValue",
            f"must be {member} for operator {operator}",
        )
