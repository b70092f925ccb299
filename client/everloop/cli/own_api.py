"""Everloop's own paths, beside AWS's operations: signed as boto3 signs, without a service model."""

import importlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from everloop.cli.connection import Connection
from everloop.cli.errors import ApiError, CommandError, StreamBroken
from everloop.cli.reach import reaching
from everloop.dev.credentials import ACCESS_KEY_ID, SECRET_ACCESS_KEY

Json = dict[str, Any]

PREFIX = "/everloop/v1"
SIGNING_NAME = "bedrock-agentcore"
#: Answers are sums that the server has in milliseconds; this only bounds a server that hangs.
ANSWER_S = 30
#: The server tells that it lives every 15 s.
SILENCE_S = 45
CONNECT_S = 10
ERROR_HEADER = "x-amzn-errortype"


def get(connection: Connection, *segments: str, query: dict[str, str] | None = None) -> Json:
    """GET one of our own resources; see `send`."""
    return send(connection, "GET", *segments, query=query)


def send(
    connection: Connection,
    method: str,
    *segments: str,
    query: dict[str, str] | None = None,
    body: Json | None = None,
    headers: dict[str, str] | None = None,
) -> Json:
    """Send a request to one of our own resources.

    Args:
        connection: where the API is.
        method: the HTTP method.
        segments: the path after `/everloop/v1`, unescaped.
        query: query parameters.
        body: sent as JSON.
        headers: further headers, which are signed too.

    Returns:
        The answer's JSON.

    Raises:
        ApiError: the API refused.
        CommandError: it cannot be reached, or no credentials are there to sign with.
    """
    path = "/".join(quote(segment, safe="") for segment in segments)
    url = f"{connection.data_url.rstrip('/')}{PREFIX}/{path}"
    if query:
        url = f"{url}?{urlencode(query)}"
    payload = None if body is None else json.dumps(body).encode()
    answer = _send(connection, method, url, payload, headers or {})
    told: Json = json.loads(answer.content or b"{}")
    if answer.status_code >= 400:
        name = answer.headers.get(ERROR_HEADER) or f"HTTP {answer.status_code}"
        raise ApiError(name, told.get("message") or "(no message)")
    return told


@contextmanager
def stream(
    connection: Connection,
    *segments: str,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> Generator[Iterator[bytes]]:
    """GET a resource that is told as it comes.

    Yields:
        The answer's pieces as they arrive; none when the server has nothing (204). Iterating raises
        StreamBroken when the connection goes.

    Raises:
        ApiError: the API refused.
        CommandError: it cannot be reached, or no credentials are there to sign with.
    """
    path = "/".join(quote(segment, safe="") for segment in segments)
    url = f"{connection.data_url.rstrip('/')}{PREFIX}/{path}"
    if query:
        url = f"{url}?{urlencode(query)}"
    answer = _send(connection, "GET", url, None, headers or {}, streamed=True)
    try:
        if answer.status_code >= 400:
            told: Json = json.loads(answer.content or b"{}")
            name = answer.headers.get(ERROR_HEADER) or f"HTTP {answer.status_code}"
            raise ApiError(name, told.get("message") or "(no message)")
        yield _pieces(answer.raw, connection.data_url)
    finally:
        answer.raw.close()


def _pieces(raw: Any, url: str) -> Iterator[bytes]:
    urllib3: Any = importlib.import_module("urllib3.exceptions")
    try:
        yield from raw.stream()
    except (urllib3.HTTPError, OSError) as error:
        told = " ".join(str(error).split())
        raise StreamBroken(f"the stream from {url} broke off: {told}") from error


def _send(
    connection: Connection,
    method: str,
    url: str,
    body: bytes | None,
    headers: dict[str, str],
    *,
    streamed: bool = False,
) -> Any:
    request_module: Any = importlib.import_module("botocore.awsrequest")
    http: Any = importlib.import_module("botocore.httpsession")
    headers = {"accept": "*/*" if streamed else "application/json", **headers}
    if body is not None:
        headers["content-type"] = "application/json"
    request = request_module.AWSRequest(
        method, url, headers=headers, data=body, stream_output=streamed
    )
    signer(connection).add_auth(request)
    client = http.URLLib3Session(timeout=(CONNECT_S, SILENCE_S if streamed else ANSWER_S))
    try:
        with reaching(connection.data_url):
            return client.send(request.prepare())
    finally:
        if not streamed:
            client.close()


def _credentials(connection: Connection) -> Any:
    credentials: Any = importlib.import_module("botocore.credentials")
    if connection.is_local:
        return credentials.Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    boto3: Any = importlib.import_module("boto3")
    found = boto3.Session().get_credentials()
    if found is None:
        raise CommandError("no AWS credentials to sign with; see: everloop env")
    return found.get_frozen_credentials()


def signer(connection: Connection) -> Any:
    """What signs a request of botocore's for the API.

    Raises:
        CommandError: no credentials are there to sign with.
    """
    auth: Any = importlib.import_module("botocore.auth")
    return auth.SigV4Auth(_credentials(connection), SIGNING_NAME, connection.region)
