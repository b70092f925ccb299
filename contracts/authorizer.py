"""Who may invoke a harness with a JSON Web Token: `AuthorizerConfiguration` of AWS's model.

The parts of it that reach into a VPC, a private certificate authority or AgentCore's workload
identities are not served and have no place here.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field

from contracts.base import WireValue

_WELL_KNOWN = "/.well-known/"


class ClaimMatchValue(WireValue):
    """`ClaimMatchValueType`, a union."""

    match_value_string: str | None = None
    match_value_string_list: tuple[str, ...] | None = None


class ClaimMatch(WireValue):
    """`AuthorizingClaimMatchValueType`."""

    claim_match_value: ClaimMatchValue
    claim_match_operator: Literal["EQUALS", "CONTAINS", "CONTAINS_ANY"]


class CustomClaim(WireValue):
    """`CustomClaimValidationType`: what one claim of a token must hold."""

    inbound_token_claim_name: str
    inbound_token_claim_value_type: Literal["STRING", "STRING_ARRAY"]
    authorizing_claim_match_value: ClaimMatch

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token's claims satisfy it; a claim of another type never does."""
        value = claims.get(self.inbound_token_claim_name)
        match = self.authorizing_claim_match_value
        wanted = match.claim_match_value
        if match.claim_match_operator == "EQUALS":
            return isinstance(value, str) and value == wanted.match_value_string
        if not isinstance(value, list):
            return False
        found = cast("list[object]", value)
        if match.claim_match_operator == "CONTAINS":
            return wanted.match_value_string in found
        return any(each in found for each in wanted.match_value_string_list or ())


class JwtAuthorizer(WireValue):
    """`CustomJWTAuthorizerConfiguration`; what is None is not asked of a token."""

    discovery_url: str
    allowed_audience: tuple[str, ...] | None = None
    allowed_clients: tuple[str, ...] | None = None
    allowed_scopes: tuple[str, ...] | None = None
    #: What clients are told to ask for, by the scope that the token must then hold.
    advertised_scope_mapping: dict[str, str] | None = None
    custom_claims: tuple[CustomClaim, ...] | None = None

    @property
    def advertised_scopes(self) -> tuple[str, ...]:
        """The scopes that clients are told to ask their provider for."""
        mapping = self.advertised_scope_mapping or {}
        return tuple(mapping.get(scope, scope) for scope in self.allowed_scopes or ())

    @property
    def authorization_server(self) -> str:
        """The provider's URL, which its metadata's URL is made of (OIDC Discovery, RFC 8414)."""
        base, _, rest = self.discovery_url.partition(_WELL_KNOWN)
        _, slash, path = rest.partition("/")
        return f"{base}{slash}{path}"


class AuthorizerConfiguration(WireValue):
    """`AuthorizerConfiguration`, a union with one member."""

    custom_jwt_authorizer: JwtAuthorizer = Field(alias="customJWTAuthorizer")
