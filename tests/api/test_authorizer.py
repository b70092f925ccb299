"""Harnesses that take tokens: how they are defined, who may invoke them, what others are told."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from contracts.ids import HarnessArn, session_key
from contracts.messages import Message, StopReason, TextBlock
from store import migrate
from tests.api.conftest import ROLE, client, start_api
from tests.api.identity_provider import IdentityProvider, certificate
from tests.api.live import Live, Turn, drain, live_server
from tests.api.raw import RawAnswer, call
from tests.api.test_bearer import claim
from tests.api.test_keys import make_key

Json = dict[str, Any]
SESSION = "s" * 33
SESSION_HEADER = "x-amzn-bedrock-agentcore-runtime-session-id"
USER_HEADER = "x-amzn-bedrock-agentcore-runtime-user-id"
JWT = "authorizerConfiguration.customJWTAuthorizer"
URL = "https://idp.example/main/.well-known/openid-configuration"
SAID = Message(role="assistant", blocks=(TextBlock(text="Hi"),), stop_reason=StopReason.END_TURN)


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    made = IdentityProvider().start()
    yield made
    made.stop()


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        server.sessions.play = say_hi
        yield server


async def say_hi(turn: Turn) -> None:
    await turn.open()
    await turn.begin()
    await turn.commit(SAID)
    await turn.close()


def bearer_client(url: str, token: str) -> Any:
    """boto3 that sends a token and signs nothing, as docs/identity.md shows."""
    data: Any = cast("Any", boto3).client(
        "bedrock-agentcore",
        endpoint_url=url,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )

    def add_token(params: Json, **_: Any) -> None:
        params["headers"]["Authorization"] = f"Bearer {token}"

    data.meta.events.register("before-call.bedrock-agentcore.InvokeHarness", add_token)
    return data


async def post(
    live: Live, arn: str, authorization: str | None = None, query: str = "", **headers: str
) -> RawAnswer:
    """InvokeHarness without an SDK."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if authorization is not None:
        named["authorization"] = authorization
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    path = f"/harnesses/invoke?harnessArn={quote(arn, safe='')}{query}"
    return await asyncio.to_thread(
        call, live.port, "POST", path, body, {SESSION_HEADER: SESSION, **named}
    )


async def actor(live: Live, arn: str, invocation_id: str) -> str:
    parsed = HarnessArn.parse(arn)
    session = session_key(parsed.account, parsed.harness_id, SESSION)
    found = await live.store.turns.invocation(session, invocation_id)
    assert found is not None
    return (await live.store.configs.get(found.config_digest)).actor_id


@pytest.mark.wire("harness.authorizer")
async def test_an_authorizer_is_kept_with_the_version(live: Live) -> None:
    authorizer = {
        "customJWTAuthorizer": {
            "discoveryUrl": URL,
            "allowedAudience": ["a"],
            "allowedClients": ["b"],
            "allowedScopes": ["c", "d"],
            "advertisedScopeMapping": {"c": "api://c"},
            "customClaims": [
                claim("team", "STRING", "EQUALS", matchValueString="red"),
                claim("groups", "STRING_ARRAY", "CONTAINS", matchValueString="x"),
                claim("groups", "STRING_ARRAY", "CONTAINS_ANY", matchValueStringList=["x", "y"]),
            ],
        }
    }
    arn = await live.harness(authorizerConfiguration=authorizer)
    harness_id = arn.rpartition("/")[2]

    def walk() -> None:
        get, update = live.control.get_harness, live.control.update_harness
        assert get(harnessId=harness_id)["harness"]["authorizerConfiguration"] == authorizer
        kept = update(harnessId=harness_id, maxIterations=3)["harness"]
        assert kept["authorizerConfiguration"] == authorizer
        other = {"customJWTAuthorizer": {"discoveryUrl": URL, "allowedClients": ["z"]}}
        replaced = update(harnessId=harness_id, authorizerConfiguration={"optionalValue": other})
        assert replaced["harness"]["authorizerConfiguration"] == other
        cleared = update(harnessId=harness_id, authorizerConfiguration={})["harness"]
        assert "authorizerConfiguration" not in cleared
        first = get(harnessId=harness_id, harnessVersion="1")["harness"]
        assert first["authorizerConfiguration"] == authorizer

    await asyncio.to_thread(walk)


VPC = {"selfManagedLatticeResource": {"resourceConfigurationIdentifier": f"rcfg-{'0' * 17}"}}
WRONG: list[tuple[Json, list[str]]] = [
    ({"allowedAudience": ["a"], "discoveryUrl": URL.replace("https", "http")}, ["discoveryUrl"]),
    ({"allowedAudience": ["a"], "discoveryUrl": URL.replace("idp", "u:p@idp")}, ["discoveryUrl"]),
    ({"allowedAudience": ["a"], "discoveryUrl": URL.replace("https", "ftp")}, ["discoveryUrl"]),
    ({"allowedAudience": ["a"], "discoveryUrl": URL[8:]}, ["discoveryUrl", "discoveryUrl"]),
    ({"allowedAudience": ["a"] * 101}, ["allowedAudience"]),
    ({}, [""]),
    ({"allowedAudience": ["a"], "privateEndpoint": VPC}, ["privateEndpoint"]),
    (
        {
            "allowedAudience": ["a"],
            "privateEndpointOverrides": [{"domain": "a.example", "privateEndpoint": VPC}],
        },
        ["privateEndpointOverrides"],
    ),
    (
        {
            "allowedAudience": ["a"],
            "certificateConfigurations": [{"s3": {"uri": "s3://bucket/ca.pem"}}],
        },
        ["certificateConfigurations"],
    ),
    (
        {"allowedAudience": ["a"], "allowedWorkloadConfiguration": {"workloadIdentities": ["abc"]}},
        ["allowedWorkloadConfiguration"],
    ),
    (
        {"allowedScopes": ["c"], "advertisedScopeMapping": {"d": "e"}},
        ["advertisedScopeMapping[d]"],
    ),
    (
        {"customClaims": [claim("t", "STRING", "CONTAINS", matchValueString="x")]},
        ["customClaims[0].authorizingClaimMatchValue.claimMatchOperator"],
    ),
    (
        {"customClaims": [claim("t", "STRING_ARRAY", "EQUALS", matchValueString="x")]},
        ["customClaims[0].authorizingClaimMatchValue.claimMatchOperator"],
    ),
    (
        {"customClaims": [claim("t", "STRING_ARRAY", "CONTAINS_ANY", matchValueString="x")]},
        ["customClaims[0].authorizingClaimMatchValue.claimMatchValue"],
    ),
]


@pytest.mark.wire("harness.authorizer-checks", "harness.authorizer-private")
@pytest.mark.parametrize(("members", "fields"), WRONG)
def test_what_is_wrong_or_not_served_is_named(
    control: Any, members: Json, fields: list[str]
) -> None:
    with pytest.raises(control.exceptions.ValidationException) as refused:
        control.create_harness(
            harnessName="agent",
            executionRoleArn=ROLE,
            authorizerConfiguration={"customJWTAuthorizer": {"discoveryUrl": URL, **members}},
        )
    named = [each["name"] for each in refused.value.response["fieldList"]]
    assert named == [f"{JWT}.{field}".rstrip(".") for field in fields]


@pytest.mark.wire("auth.token", "auth.token-user")
async def test_a_token_lets_in_and_its_subject_is_the_user(
    live: Live, provider: IdentityProvider
) -> None:
    arn = await live.harness(authorizerConfiguration=provider.authorizer())
    data = bearer_client(f"http://127.0.0.1:{live.port}", provider.token(sub="alice"))
    messages = [{"role": "user", "content": [{"text": "Hello"}]}]

    def ask(**members: Any) -> str:
        answer = data.invoke_harness(
            harnessArn=arn, runtimeSessionId=SESSION, messages=messages, **members
        )
        assert "Hi" in str(drain(answer))
        return answer["ResponseMetadata"]["HTTPHeaders"]["x-everloop-invocation-id"]

    try:
        assert await actor(live, arn, await asyncio.to_thread(ask)) == "alice"
        assert (
            await actor(live, arn, await asyncio.to_thread(ask, runtimeUserId="alice")) == "alice"
        )
        assert await actor(live, arn, await asyncio.to_thread(ask, actorId="team")) == "team"
        with pytest.raises(ClientError, match="another user than the token's subject"):
            await asyncio.to_thread(ask, runtimeUserId="bob")
    finally:
        data.close()


async def test_a_token_without_a_subject_speaks_for_nobody(
    live: Live, provider: IdentityProvider
) -> None:
    arn = await live.harness(authorizerConfiguration=provider.authorizer())
    bearer = f"Bearer {provider.token(sub=None)}"
    answer = await post(live, arn, bearer, x_everloop_invocation_id="i1")
    assert (answer.status, await actor(live, arn, "i1")) == (200, "default")
    named = await post(live, arn, bearer, **{USER_HEADER: "bob"})
    assert (named.status, named.error) == (403, "AccessDeniedException")
    for subject in ("", "x" * 256, "a\nb"):
        odd = await post(live, arn, f"Bearer {provider.token(sub=subject)}")
        assert (odd.status, odd.error) == (401, "UnauthorizedException")


@pytest.mark.wire("auth.token")
async def test_a_signature_is_refused_where_a_token_is_taken_and_the_reverse(
    live: Live, provider: IdentityProvider
) -> None:
    takes_tokens = await live.harness(authorizerConfiguration=provider.authorizer())
    with pytest.raises(ClientError, match="Authorization method mismatch") as caught:
        await live.say(takes_tokens)
    status = cast("Any", caught.value).response["ResponseMetadata"]["HTTPStatusCode"]
    assert (status, live.sessions.brought) == (403, [])
    takes_signatures = await live.harness("signed")
    for token in (provider.token(), "nonsense"):
        answer = await post(live, takes_signatures, f"Bearer {token}")
        assert (answer.status, answer.error) == (403, "AccessDeniedException")
        assert "Authorization method mismatch" in answer.json["message"]
        assert "www-authenticate" not in answer.headers
    absent = takes_signatures[:-10] + "0123456789"
    for arn in (absent, "nonsense", absent.replace(":000000000000:", ":111122223333:")):
        answer = await post(live, arn, f"Bearer {provider.token()}")
        assert "Authorization method mismatch" in answer.json["message"]


@pytest.mark.wire("auth.token-missing")
async def test_who_brings_nothing_is_told_where_to_get_a_token(
    live: Live, provider: IdentityProvider
) -> None:
    authorizer = provider.authorizer(
        allowedScopes=["invoke", "admin"], advertisedScopeMapping={"invoke": "api://x/invoke"}
    )
    arn = await live.harness(authorizerConfiguration=authorizer)
    for nothing in (None, "", "  "):
        answer = await post(live, arn, nothing)
        assert (answer.status, answer.error) == (401, "UnauthorizedException")
        assert answer.json == {"message": "Missing Authentication Token"}
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith("Bearer resource_metadata=")
        assert challenge.endswith('scope="api://x/invoke admin"')
    (url,) = re.findall(r'resource_metadata="http://127.0.0.1:\d+([^"]+)"', challenge)
    metadata = await asyncio.to_thread(call, live.port, "GET", url)
    assert metadata.json == {
        "resource": f"http://127.0.0.1:{live.port}/harnesses/invoke?harnessArn="
        + quote(arn, safe=""),
        "authorization_servers": [provider.issuer()],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["api://x/invoke", "admin"],
    }
    open_harness = await live.harness("signed")
    for harness_id in (open_harness.rpartition("/")[2], "absent-0123456789"):
        path = f"/everloop/v1/harnesses/{harness_id}/oauth-protected-resource"
        assert (await asyncio.to_thread(call, live.port, "GET", path)).status == 404


@pytest.mark.wire("auth.token-claims", "auth.token-unreadable", "auth.token-scope")
async def test_a_refused_token_is_told_why(live: Live, provider: IdentityProvider) -> None:
    arn = await live.harness(authorizerConfiguration=provider.authorizer())
    for token, status, error, told, challenge in (
        (provider.token(exp=1), 401, "UnauthorizedException", "expired", "invalid_token"),
        (provider.token(aud="x"), 401, "UnauthorizedException", "Claim 'aud'", "invalid_token"),
        ("nonsense", 403, "AccessDeniedException", "Failed to parse token", "invalid_token"),
    ):
        answer = await post(live, arn, f"Bearer {token}")
        assert (answer.status, answer.error) == (status, error)
        assert told in answer.json["message"]
        assert f'error="{challenge}"' in answer.headers["www-authenticate"]
        assert token not in answer.body.decode()
    scoped = await live.harness(
        "scoped", authorizerConfiguration=provider.authorizer(allowedScopes=["invoke"])
    )
    answer = await post(live, scoped, f"Bearer {provider.token(scope='other')}")
    assert (answer.status, answer.error) == (403, "AccessDeniedException")
    challenge = answer.headers["www-authenticate"]
    assert challenge.endswith('scope="invoke", error="insufficient_scope"')
    assert live.sessions.brought == []


async def test_a_host_header_cannot_write_the_challenge(
    live: Live, provider: IdentityProvider
) -> None:
    arn = await live.harness(authorizerConfiguration=provider.authorizer())
    answer = await post(live, arn, host='a", error="none')
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_each_endpoint_takes_what_its_version_says(
    live: Live, provider: IdentityProvider
) -> None:
    arn = await live.harness()
    harness_id = arn.rpartition("/")[2]

    def prepare() -> None:
        live.control.create_harness_endpoint(harnessId=harness_id, endpointName="signed")
        live.control.update_harness(
            harnessId=harness_id,
            authorizerConfiguration={"optionalValue": provider.authorizer()},
        )

    await asyncio.to_thread(prepare)
    bearer = f"Bearer {provider.token()}"
    assert (await post(live, arn, bearer)).status == 200
    assert (await post(live, arn, bearer, "&qualifier=signed")).status == 403
    await live.say(arn, qualifier="signed", runtimeSessionId="t" * 33)
    # Whoever names two is judged by neither.
    for more in ("&qualifier=DEFAULT&qualifier=signed", f"&harnessArn={quote(arn, safe='')}"):
        assert (await post(live, arn, bearer, more)).status == 403


async def test_a_repeated_call_is_its_users_own(live: Live, provider: IdentityProvider) -> None:
    arn = await live.harness(authorizerConfiguration=provider.authorizer())
    alice, bob = (f"Bearer {provider.token(sub=name)}" for name in ("alice", "bob"))
    first = await post(live, arn, alice, x_everloop_invocation_id="i1")
    assert first.status == 200
    stolen = await post(live, arn, bob, x_everloop_invocation_id="i1")
    assert (stolen.status, stolen.json["reason"]) == (400, "IdempotentParameterMismatchException")
    await asyncio.to_thread(live.control.delete_harness, harnessId=arn.rpartition("/")[2])
    again = await post(live, arn, alice, x_everloop_invocation_id="i1")
    assert (again.status, again.body) == (200, first.body)
    assert (await post(live, arn, None, x_everloop_invocation_id="i1")).status == 401
    with pytest.raises(ClientError):
        await live.say(arn)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityProvider]:
    made = IdentityProvider(options=certificate(tmp_path_factory.mktemp("tls"))).start()
    yield made
    made.stop()


def test_beyond_this_machine_a_token_is_all_that_its_harness_needs(
    tmp_path: Path, secure: IdentityProvider, provider: IdentityProvider
) -> None:
    key = make_key(tmp_path)
    running = start_api(
        tmp_path, EVERLOOP_API_HOST="0.0.0.0", SSL_CERT_FILE=secure.options["ssl_certfile"]
    )
    try:
        made = client("bedrock-agentcore-control", running.url, key)
        with pytest.raises(made.exceptions.ValidationException, match="discoveryUrl"):
            made.create_harness(
                harnessName="plain",
                executionRoleArn=ROLE,
                authorizerConfiguration=provider.authorizer(),
            )
        arn = made.create_harness(
            harnessName="agent",
            executionRoleArn=ROLE,
            authorizerConfiguration=secure.authorizer(),
        )["harness"]["arn"]
        made.close()
        path = f"/harnesses/invoke?harnessArn={quote(arn, safe='')}"
        large = b"{" * 7 * 1024 * 1024

        def ask(authorization: str | None, body: bytes) -> tuple[int, str]:
            headers = {} if authorization is None else {"authorization": authorization}
            answer = call(running.port, "POST", path, body, headers)
            return answer.status, answer.error

        # Who is let in learns what is wrong with the rest; a stranger's body is not even read.
        assert ask(f"Bearer {secure.token()}", b"{}") == (400, "ValidationException")
        assert ask(f"Bearer {secure.token()}", large) == (400, "ValidationException")
        assert ask(f"Bearer {secure.token(aud='x')}", large) == (401, "UnauthorizedException")
        assert ask(None, large) == (401, "UnauthorizedException")
        bearer = {"authorization": f"Bearer {secure.token()}"}
        others = call(running.port, "GET", "/harnesses", None, bearer)
        assert (others.status, others.error) == (403, "IncompleteSignatureException")
    finally:
        status, out, err = running.stop()
    assert status == 0
    assert "eyJ" not in out + err
