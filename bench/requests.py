"""What the wire costs before any work: reading, checking and verifying an InvokeHarness request."""

import statistics
import time
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from api.model import wire_model
from api.parse import parse
from api.request import WireRequest, decode_headers, decode_query
from api.sigv4 import check_signature, read_claim
from api.validate import validate
from bench.bed import Bed
from bench.report import Figure
from contracts.faults import Faults

REQUEST_MS = 1.0
REQUESTS = 500

_REGION = "us-east-1"
_SECRET = "a-secret"
_PATH = "/harnesses/invoke"
_ARN = f"arn:aws:bedrock-agentcore:{_REGION}:{'0' * 12}:harness/agent-0123456789"
_QUERY = f"harnessArn={quote(_ARN, safe='')}"
_BODY = b'{"messages": [{"role": "user", "content": [{"text": "' + b"x" * 2000 + b'"}]}]}'


def measure(bed: Bed) -> list[Figure]:
    """Take a signed request of 2 KB apart, as the API does.

    Returns:
        The median.
    """
    raw = _signed()
    _once(raw)
    taken = [_once(raw) for _ in range(REQUESTS)]
    what = "request read, checked and its signature verified"
    return [Figure(what, "ms", statistics.median(taken), None, REQUEST_MS)]


def _signed() -> list[tuple[bytes, bytes]]:
    headers = {"Host": "127.0.0.1", "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "s" * 33}
    request = AWSRequest("POST", f"http://127.0.0.1{_PATH}?{_QUERY}", headers=headers, data=_BODY)
    signer = cast("Any", SigV4Auth)(Credentials("key", _SECRET), "bedrock-agentcore", _REGION)
    signer.add_auth(request)
    return [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]


def _once(raw: list[tuple[bytes, bytes]]) -> float:
    began = time.perf_counter()
    wire = WireRequest("POST", _PATH, decode_query(_QUERY.encode()), decode_headers(raw), _BODY)
    claim = read_claim(wire.headers, _REGION, datetime.now(UTC))
    check_signature(
        claim,
        _SECRET,
        method="POST",
        raw_path=_PATH,
        raw_query=_QUERY,
        headers=wire.headers,
        body=_BODY,
    )
    route = wire_model().route(wire.method, wire.raw_path, wire.query)
    assert route is not None
    faults, operation = Faults(), route.operation
    params = parse(operation.input, route.labels, wire, operation.constants, faults)
    validate(operation.input, params, faults)
    faults.raise_if_any()
    return (time.perf_counter() - began) * 1000
