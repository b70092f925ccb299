"""A JSON Web Token against a harness's authorizer, as AWS's inbound JWT authorizer judges it.

Sources: RFC 7519, RFC 8725 and the AgentCore developer guide. In order: the token's form, its
algorithm, its key, its signature, its times and issuer, then what the authorizer asks of its
claims. AWS answers 403 to what is no token, 401 naming the claim to a token that does not fit; a
token that only lacks a scope gets 403, as RFC 6750 says.
"""

from collections.abc import Mapping
from typing import Any, cast

import jwt

from api.identity_providers import IdentityProviders, Provider
from api.provider_fetch import FetchFailed
from api.signing_keys import ALGORITHMS, SigningKey, fitting
from contracts.authorizer import JwtAuthorizer
from contracts.errors import AwsError, ServiceError, TokenRefused

Claims = Mapping[str, Any]

#: Seconds that clocks may differ.
SKEW_S = 60
#: A token with hundreds of groups in it; all headers together may have twice that.
MAX_TOKEN_BYTES = 16 * 1024
#: OpenID Connect Core, section 2: `sub` has at most 255 ASCII characters.
MAX_SUBJECT = 255

#: Where providers put the client: RFC 9068's `client_id`, else OpenID Connect's `azp`.
_CLIENT_CLAIMS = ("client_id", "azp")
#: RFC 9068's `scope`, else the `scp` of Entra ID and Okta.
_SCOPE_CLAIMS = ("scope", "scp")

_WRONG: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidIssuerError: "Claim 'iss' value mismatch with the identity provider's.",
    jwt.InvalidSignatureError: "the signature does not fit",
}


async def verify(token: str, authorizer: JwtAuthorizer, providers: IdentityProviders) -> Claims:
    """The claims of a token that the authorizer lets in.

    Args:
        token: what followed `Bearer`.
        authorizer: the harness's.
        providers: those whose keys are known.

    Raises:
        TokenRefused: it is not let in; 401 or 403.
        ServiceError: InternalServerException while the provider's keys cannot be had.
    """
    algorithm, kid = _header(token)
    provider, key = await _key(authorizer.discovery_url, kid, algorithm, providers)
    try:
        claims = jwt.decode(
            token,
            key=key.key,
            algorithms=[algorithm],
            issuer=provider.issuer,
            leeway=SKEW_S,
            options={"require": ["exp", "iss"], "verify_aud": False},
        )
    except jwt.MissingRequiredClaimError as error:
        raise _invalid(f"Claim '{error.claim}' is missing.") from None
    except jwt.PyJWTError as error:
        raise _invalid(_WRONG.get(type(error), "the token is not valid")) from None
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise _invalid("the token is not valid") from None
    _check(claims, authorizer)
    return claims


def subject(claims: Claims) -> str | None:
    """Whom a verified token is about.

    Raises:
        TokenRefused: `sub` is none that OpenID Connect allows.
    """
    value: object = claims.get("sub")
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT or not value.isprintable():
        raise _invalid(f"Claim 'sub' must have 1 to {MAX_SUBJECT} printable characters.")
    return value


def _header(token: str) -> tuple[str, str | None]:
    if len(token) > MAX_TOKEN_BYTES:
        raise _unreadable(f"it has more than {MAX_TOKEN_BYTES} bytes")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise _unreadable("it is no JSON Web Token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _invalid(f"the algorithm must be one of {', '.join(sorted(ALGORITHMS))}")
    if "crit" in header:
        # RFC 7515, section 4.1.11: who does not understand a critical header must refuse.
        raise _invalid("the token has critical headers, of which none is understood")
    return algorithm, kid


async def _key(
    url: str, kid: str | None, algorithm: str, providers: IdentityProviders
) -> tuple[Provider, SigningKey]:
    try:
        provider = await providers.get(url)
    except FetchFailed:
        raise ServiceError(
            AwsError.INTERNAL,
            "The harness's identity provider cannot be read, so that no token can be verified; "
            "the server's log says why.",
        ) from None
    key = fitting(provider.keys, kid, algorithm)
    if key is None:
        provider = await providers.newer(url, provider)
        key = fitting(provider.keys, kid, algorithm)
    if key is None:
        raise _invalid("the identity provider has no such key")
    return provider, key


def _check(claims: Claims, authorizer: JwtAuthorizer) -> None:
    if authorizer.allowed_audience and not _any(claims.get("aud"), authorizer.allowed_audience):
        raise _mismatch("aud")
    if authorizer.allowed_clients:
        name = next((each for each in _CLIENT_CLAIMS if each in claims), _CLIENT_CLAIMS[0])
        if claims.get(name) not in authorizer.allowed_clients:
            raise _mismatch(name)
    for claim in authorizer.custom_claims or ():
        if not claim.holds(claims):
            raise _mismatch(claim.inbound_token_claim_name)
    if authorizer.allowed_scopes and not _scopes(claims) & set(authorizer.allowed_scopes):
        raise TokenRefused(
            AwsError.ACCESS_DENIED,
            "The token has none of the scopes that the harness asks for.",
            challenge='error="insufficient_scope"',
        )


def _any(value: object, allowed: tuple[str, ...]) -> bool:
    """Whether a string or a list of strings has something allowed."""
    found = cast("list[object]", value) if isinstance(value, list) else [value]
    return any(each in allowed for each in found)


def _scopes(claims: Claims) -> set[str]:
    value: object = next((claims[each] for each in _SCOPE_CLAIMS if each in claims), None)
    if isinstance(value, str):
        return set(value.split())
    if isinstance(value, list):
        return {each for each in cast("list[object]", value) if isinstance(each, str)}
    return set()


def _mismatch(claim: str) -> TokenRefused:
    return _invalid(f"Claim '{claim}' value mismatch with configuration.")


def _invalid(message: str) -> TokenRefused:
    return TokenRefused(AwsError.UNAUTHORIZED, message, challenge='error="invalid_token"')


def _unreadable(why: str) -> TokenRefused:
    return TokenRefused(
        AwsError.ACCESS_DENIED,
        f"OAuth authorization failed: Failed to parse token: {why}",
        challenge='error="invalid_token"',
    )
