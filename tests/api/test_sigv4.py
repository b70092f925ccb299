"""The signature itself, against botocore's own signer."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from api.sigv4 import check_signature, read_claim
from contracts.errors import AwsError, ServiceError

SECRET = "a-secret"
HOST = "127.0.0.1:8080"
REGION = "us-east-1"


def signed(
    path: str = "/harnesses/invoke",
    query: str = "",
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    service: str = "bedrock-agentcore",
    region: str = REGION,
) -> dict[str, str]:
    """The headers that botocore sends, signature included."""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers={"Host": HOST, **(headers or {})}, data=body)
    signer = cast("Any", SigV4Auth)(Credentials("key", SECRET), service, region)
    signer.add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def check(
    headers: dict[str, str],
    path: str = "/harnesses/invoke",
    query: str = "",
    body: bytes = b"{}",
    *,
    method: str = "POST",
    secret: str = SECRET,
    later: timedelta = timedelta(),
) -> None:
    claim = read_claim(headers, REGION, datetime.now(UTC) + later)
    assert claim.access_key_id == "key"
    check_signature(
        claim, secret, method=method, raw_path=path, raw_query=query, headers=headers, body=body
    )


def refused(headers: dict[str, str], **request: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        check(headers, **request)
    return caught.value


SEGMENTS = st.lists(st.text(min_size=1, max_size=8).filter(lambda s: s.isprintable()), max_size=4)
TEXTS = st.text(max_size=12).filter(lambda s: "\ud800" > max(s, default="") or s.isprintable())


@pytest.mark.wire("auth.sigv4")
@given(
    segments=SEGMENTS,
    trailing=st.booleans(),
    query=st.lists(st.tuples(TEXTS, TEXTS), max_size=4),
    body=st.binary(max_size=50),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
def test_what_botocore_signs_is_accepted_whatever_it_holds(
    segments: list[str], trailing: bool, query: list[tuple[str, str]], body: bytes, value: str
) -> None:
    def encoded(text: str) -> str:
        return quote(text.encode("utf-8", "replace"), safe="-_.~")

    path = "/" + "/".join(encoded(each) for each in segments) + ("/" if trailing else "")
    raw_query = "&".join(f"{encoded(name)}={encoded(value)}" for name, value in query)
    headers = signed(path, raw_query, body, {"X-Everloop-Note": value})
    check(headers, path, raw_query, body)


def test_every_part_of_a_request_is_covered() -> None:
    query = "harnessArn=a%2Bb&qualifier=x"
    headers = signed(query=query, headers={"x-everloop-if-busy": "reject"})
    check(headers, query=query)
    for change in (
        {"method": "PUT"},
        {"path": "/harnesses/invoke/"},
        {"path": "/harnesses/invokE"},
        {"query": "harnessArn=a%2Bc&qualifier=x"},
        {"query": "harnessArn=a+b&qualifier=x"},
        {"query": f"{query}&more=1"},
        {"query": ""},
        {"body": b"{ }"},
        {"secret": "another"},
    ):
        error = refused(headers, **{"query": query, **change})
        assert error.detail.error is AwsError.INVALID_SIGNATURE
    date = headers["x-amz-date"]
    for name, value in (
        ("host", "elsewhere"),
        ("x-everloop-if-busy", "enqueue"),
        ("x-amz-date", f"{date[:-2]}{(int(date[-2]) + 1) % 10}Z"),
    ):
        error = refused({**headers, name: value}, query=query)
        assert error.detail.error is AwsError.INVALID_SIGNATURE


def test_parameters_in_another_order_or_spelling_mean_the_same() -> None:
    headers = signed(query="a=%2F&b=x%20y")
    check(headers, query="b=x+y&a=/")


@pytest.mark.parametrize(
    "name",
    [
        "x-amz-extra",
        "x-amzn-bedrock-agentcore-runtime-user-id",
        "x-everloop-invocation-id",
    ],
)
def test_a_header_that_means_something_must_be_signed(name: str) -> None:
    error = refused({**signed(), name: "added"})
    assert error.detail.error is AwsError.INVALID_SIGNATURE
    assert name in error.detail.message


def test_headers_that_proxies_add_need_no_signature() -> None:
    check({**signed(), "x-forwarded-for": "10.0.0.1", "x-amzn-trace-id": "Root=1", "via": "p"})


@pytest.mark.parametrize("minutes", [-16, 16])
def test_an_overheard_request_is_soon_of_no_use(minutes: int) -> None:
    error = refused(signed(), later=timedelta(minutes=minutes))
    assert error.detail.error is AwsError.INVALID_SIGNATURE
    assert ("expired" if minutes > 0 else "not yet current") in error.detail.message
    check(signed(), later=timedelta(minutes=minutes - minutes // 8))


def test_a_stated_body_hash_must_be_the_bodys() -> None:
    headers = signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert refused(headers).detail.error is AwsError.INVALID_SIGNATURE


def authorization(**changes: str) -> dict[str, str]:
    """A good request whose Authorization header has other parts; an empty one is left out."""
    headers = signed()
    parts = dict(
        part.strip().split("=", 1)
        for part in headers["authorization"].removeprefix("AWS4-HMAC-SHA256").split(",")
    )
    text = ", ".join(f"{name}={value}" for name, value in {**parts, **changes}.items() if value)
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {text}"}


@pytest.mark.parametrize(
    "headers",
    [
        {**signed(), "authorization": "Basic dXNlcjpwYXNz"},
        {**signed(), "authorization": "AWS4-HMAC-SHA256"},
        {**signed(), "x-amz-date": "yesterday"},
        {**signed(), "x-amz-date": "20261399T000000Z"},
        {name: value for name, value in signed().items() if name != "x-amz-date"},
        authorization(Signature=""),
        authorization(SignedHeaders=""),
        authorization(Credential=""),
        authorization(Credential="key"),
        authorization(Credential="key/20260101/us-east-1/bedrock-agentcore/other"),
        authorization(Surprise="1"),
    ],
)
def test_half_a_signature_is_incomplete(headers: dict[str, str]) -> None:
    assert refused(headers).detail.error is AwsError.INCOMPLETE_SIGNATURE


def test_no_signature_is_missing_authentication() -> None:
    headers = {name: value for name, value in signed().items() if name != "authorization"}
    assert refused(headers).detail.error is AwsError.MISSING_AUTHENTICATION


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (signed(service="s3"), "bedrock-agentcore"),
        (signed(region="eu-west-1"), "us-east-1"),
        (authorization(SignedHeaders="x-amz-date"), "Host"),
        (authorization(Signature="0" * 64), "does not match"),
        (authorization(Signature="ä"), "does not match"),
        (
            authorization(Credential="key/20200101/us-east-1/bedrock-agentcore/aws4_request"),
            "Date in Credential scope",
        ),
    ],
)
def test_a_signature_for_something_else_is_invalid(headers: dict[str, str], told: str) -> None:
    error = refused(headers)
    assert error.detail.error is AwsError.INVALID_SIGNATURE
    assert told in error.detail.message


def test_whoever_replays_a_request_can_change_the_sdks_id_but_no_key_that_was_signed() -> None:
    session = "x-amzn-bedrock-agentcore-runtime-session-id"
    plain = signed(headers={session: "s" * 33})
    # docs/identity.md says what this allows, and that the other key forbids it.
    check({**plain, "amz-sdk-invocation-id": "another"})
    keyed = signed(headers={session: "s" * 33, "x-everloop-invocation-id": "order-17"})
    check({**keyed, "amz-sdk-invocation-id": "another"})
    without = {name: keyed[name] for name in keyed if name != "x-everloop-invocation-id"}
    for altered in (without, {**keyed, "x-everloop-invocation-id": "order-18"}):
        assert refused(altered).detail.error is AwsError.INVALID_SIGNATURE
    moved = {**plain, session: "t" * 33}
    assert refused(moved).detail.error is AwsError.INVALID_SIGNATURE
