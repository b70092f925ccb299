"""Tokens against an authorizer: keys and metadata come from a real provider over HTTP."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.responses import JSONResponse, RedirectResponse, Response

from api.bearer import verify
from api.identity_providers import IdentityProviders, Pace
from contracts.authorizer import AuthorizerConfiguration
from contracts.errors import AwsError, ServiceError
from tests.api.identity_provider import IdentityProvider, ec_key, public_jwk, rsa_key

Json = dict[str, Any]


@pytest.fixture(scope="module")
def shared() -> Iterator[IdentityProvider]:
    provider = IdentityProvider().start()
    yield provider
    provider.stop()


@pytest.fixture
def provider(shared: IdentityProvider) -> IdentityProvider:
    """The provider, showing one key of its own and no more."""
    shared.published[:] = [public_jwk(shared.key, shared.kid)]
    shared.asked.clear()
    shared.answers.clear()
    shared.metadata.clear()
    return shared


@pytest.fixture
def providers() -> IdentityProviders:
    return IdentityProviders(local=True)


def claim(name: str, kind: str, operator: str, **value: Any) -> Json:
    return {
        "inboundTokenClaimName": name,
        "inboundTokenClaimValueType": kind,
        "authorizingClaimMatchValue": {
            "claimMatchValue": value,
            "claimMatchOperator": operator,
        },
    }


async def admit(
    token: str, provider: IdentityProvider, providers: IdentityProviders, **members: Any
) -> Any:
    configured = AuthorizerConfiguration.model_validate(provider.authorizer(**members))
    return await verify(token, configured.custom_jwt_authorizer, providers)


async def refused(
    token: str, provider: IdentityProvider, providers: IdentityProviders, **members: Any
) -> tuple[AwsError, str]:
    with pytest.raises(ServiceError) as caught:
        await admit(token, provider, providers, **members)
    return caught.value.detail.error, caught.value.detail.message


def forged(token: str, part: int, change: Json) -> str:
    """A token with other claims or another header, under its old signature."""
    parts = token.split(".")
    value = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    text = json.dumps({**value, **change}).encode()
    parts[part] = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    return ".".join(parts)


@pytest.mark.parametrize(
    ("algorithm", "curve"),
    [
        ("RS256", None),
        ("RS512", None),
        ("PS256", None),
        ("PS384", None),
        ("ES256", ec.SECP256R1()),
        ("ES384", ec.SECP384R1()),
        ("ES512", ec.SECP521R1()),
    ],
)
async def test_every_allowed_algorithm_is_verified(
    provider: IdentityProvider,
    providers: IdentityProviders,
    algorithm: str,
    curve: ec.EllipticCurve | None,
) -> None:
    key = provider.key if curve is None else ec_key(curve)
    provider.published.append(public_jwk(key, "mine"))
    token = provider.token(algorithm=algorithm, key=key, headers={"kid": "mine"})
    assert (await admit(token, provider, providers))["sub"] == "user-1"
    error = await refused(forged(token, 1, {"sub": "root"}), provider, providers)
    assert error == (AwsError.UNAUTHORIZED, "the signature does not fit")


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": None}, "'exp' is missing"),
        ({"exp": float("inf")}, "not valid"),
        ({"exp": "soon"}, "not valid"),
        ({"nbf": int(time.time()) + 3600}, "not valid yet"),
        ({"iat": int(time.time()) + 3600}, "not valid yet"),
        ({"iss": "https://elsewhere.example"}, "'iss' value mismatch"),
        ({"iss": None}, "'iss' is missing"),
        ({"aud": "somebody-else"}, "'aud' value mismatch"),
        ({"aud": ["a", "b"]}, "'aud' value mismatch"),
        ({"aud": {"everloop": 1}}, "'aud' value mismatch"),
        ({"aud": None}, "'aud' value mismatch"),
    ],
)
async def test_a_claim_that_does_not_fit_is_named(
    provider: IdentityProvider, providers: IdentityProviders, claims: Json, told: str
) -> None:
    error, message = await refused(provider.token(**claims), provider, providers)
    assert error is AwsError.UNAUTHORIZED
    assert told in message


async def test_clocks_may_differ_by_a_minute(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    now = int(time.time())
    await admit(provider.token(exp=now - 30, nbf=now + 30, iat=now + 30), provider, providers)


async def test_one_of_several_audiences_is_enough(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    await admit(provider.token(aud=["other", "everloop"]), provider, providers)
    asked = {"allowedAudience": ["first", "everloop"]}
    await admit(provider.token(), provider, providers, **asked)


async def test_an_unsigned_token_is_refused(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    unsigned = forged(provider.token(), 0, {"alg": "none"})
    for token in (unsigned, unsigned.rpartition(".")[0] + "."):
        error, message = await refused(token, provider, providers)
        assert (error, "algorithm must be one of" in message) == (AwsError.UNAUTHORIZED, True)


async def test_a_public_key_is_no_secret_to_sign_with(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    import hashlib
    import hmac

    public = provider.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = forged(provider.token(), 0, {"alg": "HS256"}).rpartition(".")[0]
    mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    token = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    error, message = await refused(token, provider, providers)
    assert (error, "algorithm must be one of" in message) == (AwsError.UNAUTHORIZED, True)


async def test_a_key_serves_only_its_own_algorithm(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    provider.published[:] = [public_jwk(provider.key, provider.kid, alg="RS512")]
    assert (await refused(provider.token(), provider, providers))[1].endswith("no such key")
    await admit(provider.token(algorithm="RS512"), provider, providers)


@pytest.mark.parametrize(
    "entry",
    [
        public_jwk(rsa_key(1024), "odd"),
        public_jwk(rsa_key(), "odd", use="enc"),
        public_jwk(rsa_key(), "odd", key_ops=["encrypt"]),
        public_jwk(rsa_key(), "odd", n="!"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "odd"},
        {"kty": ["RSA"], "kid": "odd"},
        "odd",
    ],
)
async def test_what_is_no_signing_key_is_passed_over(
    provider: IdentityProvider, providers: IdentityProviders, entry: Any
) -> None:
    provider.published.append(entry)
    await admit(provider.token(), provider, providers)
    error, message = await refused(provider.token(headers={"kid": "odd"}), provider, providers)
    assert (error, "no such key" in message) == (AwsError.UNAUTHORIZED, True)


async def test_a_token_that_names_no_key_needs_there_to_be_one(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    nameless = provider.token(headers={"kid": None})
    provider.published[:] = [public_jwk(provider.key, None)]
    await admit(nameless, provider, providers)
    provider.published.append(public_jwk(rsa_key(), None))
    another = IdentityProviders(local=True)
    assert (await refused(nameless, provider, another))[1].endswith("no such key")


async def test_critical_headers_are_refused(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    headers: list[Json] = [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"crit": []}]
    for critical in headers:
        error, _ = await refused(forged(provider.token(), 0, critical), provider, providers)
        assert error in (AwsError.UNAUTHORIZED, AwsError.ACCESS_DENIED)
        assert provider.asked == []


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30", "..", "ä.ö.ü", "x" * 20_000])
async def test_what_is_no_token_cannot_be_parsed(
    provider: IdentityProvider, providers: IdentityProviders, token: str
) -> None:
    error, message = await refused(token, provider, providers)
    if error is not AwsError.UNAUTHORIZED:
        assert (error, message[:48]) == (
            AwsError.ACCESS_DENIED,
            "OAuth authorization failed: Failed to parse token"[:48],
        )
    assert provider.asked == []


async def test_clients_are_known_by_client_id_or_azp(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    asked = {"allowedClients": ["web", "app"]}
    await admit(provider.token(client_id="app"), provider, providers, **asked)
    await admit(provider.token(azp="web"), provider, providers, **asked)
    other: list[tuple[Json, str]] = [
        ({"client_id": "other", "azp": "web"}, "client_id"),
        ({"azp": "other"}, "azp"),
        ({}, "client_id"),
        ({"client_id": ["web"]}, "client_id"),
    ]
    for claims, name in other:
        _, message = await refused(provider.token(**claims), provider, providers, **asked)
        assert message == f"Claim '{name}' value mismatch with configuration."


async def test_one_allowed_scope_is_enough_and_none_is_forbidden(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    asked = {"allowedScopes": ["invoke", "admin"]}
    enough: list[Json] = [{"scope": "a invoke"}, {"scp": ["admin"]}, {"scope": ["x", "invoke"]}]
    for claims in enough:
        await admit(provider.token(**claims), provider, providers, **asked)
    lacking: list[Json] = [{}, {"scope": "openid"}, {"scope": "invoke2"}, {"scope": 7}]
    for claims in lacking:
        error, message = await refused(provider.token(**claims), provider, providers, **asked)
        assert (error, "none of the scopes" in message) == (AwsError.ACCESS_DENIED, True)


@pytest.mark.parametrize(
    ("rule", "fits", "fails"),
    [
        (
            claim("team", "STRING", "EQUALS", matchValueString="red"),
            ["red"],
            ["Red", ["red"], None, 7],
        ),
        (
            claim("team", "STRING_ARRAY", "CONTAINS", matchValueString="red"),
            [["red"], ["blue", "red"]],
            [["blue"], "red", [], None, [["red"]]],
        ),
        (
            claim("team", "STRING_ARRAY", "CONTAINS_ANY", matchValueStringList=["red", "blue"]),
            [["red"], ["green", "blue"]],
            [["green"], "red", [], None, {"red": 1}],
        ),
    ],
)
@pytest.mark.wire("auth.token-claims")
async def test_custom_claims_by_operator(
    provider: IdentityProvider,
    providers: IdentityProviders,
    rule: Json,
    fits: list[Any],
    fails: list[Any],
) -> None:
    for value in fits:
        await admit(provider.token(team=value), provider, providers, customClaims=[rule])
    for value in fails:
        told = await refused(provider.token(team=value), provider, providers, customClaims=[rule])
        assert told == (
            AwsError.UNAUTHORIZED,
            "Claim 'team' value mismatch with configuration.",
        )


async def test_every_rule_must_hold(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    rules = {
        "allowedAudience": ["everloop"],
        "allowedClients": ["web"],
        "allowedScopes": ["invoke"],
        "customClaims": [claim("team", "STRING", "EQUALS", matchValueString="red")],
    }
    good: Json = {"client_id": "web", "scope": "invoke", "team": "red"}
    await admit(provider.token(**good), provider, providers, **rules)
    for name in (*good, "aud"):
        wrong: Json = {**good, name: "wrong"}
        await refused(provider.token(**wrong), provider, providers, **rules)


async def test_a_provider_is_asked_once_while_its_keys_are_fresh(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    for _ in range(3):
        await admit(provider.token(), provider, providers)
    assert len(provider.asked) == 2


async def test_rotated_keys_are_found_and_old_ones_forgotten(
    provider: IdentityProvider, providers: IdentityProviders
) -> None:
    old = provider.token()
    await admit(old, provider, providers)
    provider.rotate()
    await admit(provider.token(), provider, providers)
    assert (await refused(old, provider, providers))[1].endswith("no such key")


async def test_unknown_keys_do_not_make_us_ask_without_end(provider: IdentityProvider) -> None:
    providers = IdentityProviders(local=True, pace=Pace(fetches=3, window_s=600))
    stranger = rsa_key()
    for number in range(20):
        token = provider.token(key=stranger, headers={"kid": f"k{number}"})
        await refused(token, provider, providers)
    assert len(provider.asked) == 3 * 2
    await admit(provider.token(), provider, providers)


async def test_known_keys_outlive_a_provider_that_is_away(provider: IdentityProvider) -> None:
    path = "/main/.well-known/openid-configuration"
    away = IdentityProviders(local=True, pace=Pace(fresh_s=0))
    await admit(provider.token(), provider, away)
    provider.answers[path] = Response(status_code=503)
    await admit(provider.token(), provider, away)
    gone = IdentityProviders(local=True, pace=Pace(fresh_s=0, stale_s=0))
    error, message = await refused(provider.token(), provider, gone)
    assert (error, "server's log says why" in message) == (AwsError.INTERNAL, True)
    provider.answers.clear()
    await admit(provider.token(), provider, gone)


LARGE = Response(b'{"keys": "' + b"x" * 300_000 + b'"}', media_type="application/json")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Response(status_code=404), "HTTP 404"),
        (RedirectResponse("/main/elsewhere"), "HTTP 307"),
        (Response(b"<html>"), "is not JSON"),
        (Response(b"[" * 200_000), "is not JSON"),
        (JSONResponse([1]), "is no JSON object"),
        (LARGE, "more than 262144 bytes"),
        (JSONResponse({"issuer": 1, "jwks_uri": "x"}), "has no issuer"),
        (JSONResponse({"issuer": "x"}), "no jwks_uri"),
        (JSONResponse({"issuer": "x", "jwks_uri": "file:///etc/passwd"}), "must be https"),
        (JSONResponse({"issuer": "x", "jwks_uri": "http://10.0.0.1/k"}), "must be https"),
        (JSONResponse({"issuer": "x", "jwks_uri": "https://169.254.169.254/k"}), "no address"),
        (JSONResponse({"issuer": "x", "jwks_uri": "https://[::ffff:169.254.0.1]/"}), "no address"),
        (JSONResponse({"issuer": "x", "jwks_uri": "https://a:b@127.0.0.1/k"}), "no user"),
        (JSONResponse({"issuer": "x", "jwks_uri": "https://127.0.0.1:1/k"}), "ConnectError"),
    ],
)
async def test_a_provider_that_misleads_is_told_to_the_operator_only(
    provider: IdentityProvider,
    providers: IdentityProviders,
    caplog: pytest.LogCaptureFixture,
    answer: Response,
    told: str,
) -> None:
    provider.answers["/main/.well-known/openid-configuration"] = answer
    error, message = await refused(provider.token(), provider, providers)
    assert error is AwsError.INTERNAL
    assert told not in message
    assert told in caplog.text
    assert "/main/elsewhere" not in provider.asked


async def test_a_key_set_without_a_usable_key_is_told_too(
    provider: IdentityProvider, providers: IdentityProviders, caplog: pytest.LogCaptureFixture
) -> None:
    provider.published[:] = [{"kty": "oct", "k": "c2VjcmV0"}]
    error, _ = await refused(provider.token(), provider, providers)
    assert error is AwsError.INTERNAL
    assert "no key that signatures can be checked with" in caplog.text


async def test_plain_http_is_for_an_api_that_serves_this_machine_only(
    provider: IdentityProvider, caplog: pytest.LogCaptureFixture
) -> None:
    error, _ = await refused(provider.token(), provider, IdentityProviders(local=False))
    assert error is AwsError.INTERNAL
    assert "must be https" in caplog.text
    assert provider.asked == []
