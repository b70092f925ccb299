"""Signature Version 4, seen from the server: what a request claims, and what its signature must be.

Source: AWS's "Signature Version 4 request signing" and botocore's `SigV4Auth`, which signs what
this reads. Only the `Authorization` header is read; presigned URLs are not served.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

from contracts.errors import AwsError, ServiceError

ALGORITHM = "AWS4-HMAC-SHA256"
#: Both services sign as this one (`signingName` of their models).
SERVICE = "bedrock-agentcore"
#: AWS's own: clocks differ, and a request that was overheard is of no use for longer.
SKEW = timedelta(minutes=15)

#: Headers that change what a request means to us; whoever could add or alter one unsigned would
#: speak for the signer. `amz-sdk-invocation-id` is not among them: botocore adds it when it has
#: signed.
_MUST_BE_SIGNED = ("x-amz-", "x-amzn-bedrock-", "x-everloop-")

_CREDENTIAL = re.compile(
    r"(?P<key>[A-Za-z0-9_-]{1,128})/(?P<day>[0-9]{8})/(?P<region>[a-z0-9-]{1,64})"
    r"/(?P<service>[a-z0-9-]{1,64})/aws4_request"
)
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_PARTS = ("Credential", "SignedHeaders", "Signature")

#: Days, regions and keys in use at a time; each entry spares four HMACs.
_KEPT_SIGNING_KEYS = 1024


@dataclass(frozen=True)
class Claim:
    """What a request says about its signature.

    Attributes:
        access_key_id: whose signature it is said to be.
        day: of the credential's scope, `YYYYMMDD`.
        region: of the scope.
        time: when it was signed, as `X-Amz-Date` writes it.
        signed_headers: names of the headers that are signed, lower case.
        signature: in hexadecimal.
    """

    access_key_id: str
    day: str
    region: str
    time: str
    signed_headers: tuple[str, ...]
    signature: str


def read_claim(headers: Mapping[str, str], region: str, now: datetime) -> Claim:
    """Read and check all that can be checked without the key and the body.

    Args:
        headers: the request's headers by lower-case name.
        region: the region that is served.
        now: the time, UTC.

    Raises:
        ServiceError: with the name and status that AWS's services give: nothing is signed, the
            signature is incomplete, for another service or region, too old, or leaves out a header.
    """
    parts = _parts(headers)
    scope = _CREDENTIAL.fullmatch(parts["Credential"])
    if scope is None:
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, such as "
            f"keyid/date/region/{SERVICE}/aws4_request."
        )
    if scope["service"] != SERVICE:
        raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'.")
    if scope["region"] != region:
        raise _invalid(f"Credential should be scoped to a valid region, such as '{region}'.")
    claim = Claim(
        access_key_id=scope["key"],
        day=scope["day"],
        region=region,
        time=_check_time(headers, scope["day"], now),
        signed_headers=tuple(parts["SignedHeaders"].split(";")),
        signature=parts["Signature"],
    )
    _check_signed(claim, headers)
    return claim


def check_signature(
    claim: Claim,
    secret: str,
    *,
    method: str,
    raw_path: str,
    raw_query: str,
    headers: Mapping[str, str],
    body: bytes,
) -> None:
    """Check that the owner of a secret signed exactly this request.

    Args:
        claim: what the request claims.
        secret: the secret of the access key that it names.
        method: the HTTP method.
        raw_path: the path as it was sent, without the query.
        raw_query: the query as it was sent.
        headers: the request's headers by lower-case name.
        body: the whole body.

    Raises:
        ServiceError: InvalidSignatureException.
    """
    body_hash = hashlib.sha256(body).hexdigest()
    stated = headers.get("x-amz-content-sha256", body_hash)
    lines = [method, canonical_path(raw_path), canonical_query(raw_query)]
    lines += [f"{name}:{' '.join(headers.get(name, '').split())}" for name in claim.signed_headers]
    request = "\n".join([*lines, "", ";".join(claim.signed_headers), body_hash])
    scope = f"{claim.day}/{claim.region}/{SERVICE}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join([ALGORITHM, claim.time, scope, digest])
    key = _signing_key(secret, claim.day, claim.region)
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    same = hmac.compare_digest(expected.encode(), claim.signature.encode())
    if not (same and hmac.compare_digest(stated.encode(), body_hash.encode())):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        )


def canonical_path(raw_path: str) -> str:
    """The path with its segments encoded once more, as all services but S3 do."""
    kept: list[str] = []
    for segment in raw_path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    normal = "/" + "/".join(kept)
    if kept and raw_path.endswith("/"):
        normal += "/"
    return quote(normal, safe="/~")


def canonical_query(raw_query: str) -> str:
    """The parameters, each encoded in the one way there is, in order.

    A plus is a space here because it is one to whoever reads the parameters: else `%2B` could be
    made a space without breaking the signature.
    """
    pairs: list[tuple[str, str]] = []
    for pair in raw_query.split("&"):
        if pair:
            name, _, value = pair.replace("+", "%20").partition("=")
            pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="-_.~")


def _parts(headers: Mapping[str, str]) -> dict[str, str]:
    text = headers.get("authorization")
    if not text:
        raise ServiceError(AwsError.MISSING_AUTHENTICATION, "Missing Authentication Token")
    algorithm, _, rest = text.strip().partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Authorization header must begin with '{ALGORITHM}'.")
    found: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in found or name not in _PARTS:
            raise _incomplete("Authorization header has a parameter that is unknown or repeated.")
        found[name] = value
    for name in _PARTS:
        if not found.get(name):
            raise _incomplete(f"Authorization header requires '{name}' parameter.")
    return found


def _check_time(headers: Mapping[str, str], day: str, now: datetime) -> str:
    text = headers.get("x-amz-date", "")
    if not _TIME.fullmatch(text):
        raise _incomplete("The request requires a 'X-Amz-Date' header, such as 20260131T120000Z.")
    try:
        signed_at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _incomplete("The 'X-Amz-Date' header is not a time that exists.") from None
    if text[:8] != day:
        raise _invalid("Date in Credential scope does not match YYYYMMDD of the X-Amz-Date header.")
    if signed_at < now - SKEW:
        raise _invalid(
            f"Signature expired: {text} is now earlier than {_amz(now - SKEW)} "
            f"({_amz(now)} - 15 min.)"
        )
    if signed_at > now + SKEW:
        raise _invalid(
            f"Signature not yet current: {text} is still later than {_amz(now + SKEW)} "
            f"({_amz(now)} + 15 min.)"
        )
    return text


def _check_signed(claim: Claim, headers: Mapping[str, str]) -> None:
    signed = set(claim.signed_headers)
    if "host" not in signed:
        raise _invalid("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    for name in headers:
        if name.startswith(_MUST_BE_SIGNED) and name not in signed:
            raise _invalid(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


@lru_cache(maxsize=_KEPT_SIGNING_KEYS)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _amz(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%SZ")


def _incomplete(message: str) -> ServiceError:
    return ServiceError(AwsError.INCOMPLETE_SIGNATURE, message)


def _invalid(message: str) -> ServiceError:
    return ServiceError(AwsError.INVALID_SIGNATURE, message)
