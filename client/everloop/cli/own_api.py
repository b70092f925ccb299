"""Everloop's own paths, beside AWS's operations: signed as boto3 signs, without a service model."""

import importlib
import json
from typing import Any
from urllib.parse import quote, urlencode

from everloop.cli.connection import Connection
from everloop.cli.errors import ApiError, CommandError
from everloop.dev.credentials import ACCESS_KEY_ID, SECRET_ACCESS_KEY

Json = dict[str, Any]

PREFIX = "/everloop/v1"
SIGNING_NAME = "bedrock-agentcore"
#: Answers are sums that the server has in milliseconds; this only bounds a server that hangs.
ANSWER_S = 30
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


def _send(
    connection: Connection, method: str, url: str, body: bytes | None, headers: dict[str, str]
) -> Any:
    auth: Any = importlib.import_module("botocore.auth")
    request_module: Any = importlib.import_module("botocore.awsrequest")
    exceptions: Any = importlib.import_module("botocore.exceptions")
    http: Any = importlib.import_module("botocore.httpsession")
    headers = {"accept": "application/json", **headers}
    if body is not None:
        headers["content-type"] = "application/json"
    request = request_module.AWSRequest(method, url, headers=headers, data=body)
    auth.SigV4Auth(_credentials(connection), SIGNING_NAME, connection.region).add_auth(request)
    client = http.URLLib3Session(timeout=(CONNECT_S, ANSWER_S))
    try:
        return client.send(request.prepare())
    except exceptions.HTTPClientError as error:
        told = " ".join(str(error).split())
        raise CommandError(f"cannot reach the API at {connection.data_url}: {told}") from error
    finally:
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
