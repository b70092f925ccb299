"""boto3, which carries no types, behind the few typed calls that the command makes."""

import importlib
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from everloop.cli.connection import Connection
from everloop.cli.errors import ApiError, CommandError, StreamBroken, UsageError
from everloop.cli.reach import reaching
from everloop.dev.credentials import ACCESS_KEY_ID, SECRET_ACCESS_KEY

Json = dict[str, Any]

INVOCATION_HEADER = "x-everloop-invocation-id"
EXTENSIONS_HEADER = "x-everloop-extensions"
#: Seconds without a byte before a stream counts as broken: longer than a turn may last by default.
STREAM_SILENCE_S = 3900
CONNECT_S = 10
#: How the ids of access keys that Everloop makes begin.
KEY_PREFIX = "EVLP"
#: Harnesses asked for in one page of a list; the most that the service model allows.
PAGE = 100


@dataclass(frozen=True)
class Stream:
    """The answer of InvokeHarness.

    Attributes:
        invocation_id: the invocation's idempotency key; the same key attaches to it again.
        events: the events as boto3 gives them, one member each. Iterating raises ApiError for an
            exception in the stream and StreamBroken when the connection goes.
    """

    invocation_id: str
    events: Iterator[Json]


class Aws:
    """The harness operations of the two services."""

    def __init__(self, connection: Connection, *, bearer_token: str | None = None) -> None:
        """Prepare; nothing is sent yet.

        Args:
            connection: where the services are.
            bearer_token: what InvokeHarness sends in the place of a signature.
        """
        self._connection = connection
        self._bearer_token = bearer_token

    @property
    def connection(self) -> Connection:
        """Where the API is."""
        return self._connection

    def create_harness(self, request: Json, *, extensions: Json | None = None) -> Json:
        """CreateHarness; the `harness` of the answer.

        Args:
            request: the operation's members.
            extensions: Everloop's own members of a harness.
        """
        return self._define("create_harness", request, extensions)

    def update_harness(self, request: Json, *, extensions: Json | None = None) -> Json:
        """UpdateHarness; arguments and answer as those of `create_harness`."""
        return self._define("update_harness", request, extensions)

    def _define(self, operation: str, request: Json, extensions: Json | None) -> Json:
        client = self._client("bedrock-agentcore-control", self._connection.control_url)
        if extensions is not None:

            def add_header(params: Json, **_: Any) -> None:
                params["headers"][EXTENSIONS_HEADER] = json.dumps(extensions)

            client.meta.events.register("before-call.bedrock-agentcore-control", add_header)
        with _translated(self._connection.control_url):
            return getattr(client, operation)(**request)["harness"]

    def get_harness(self, harness_id: str, version: str | None = None) -> Json:
        """GetHarness; the `harness` of the answer."""
        request = {"harnessId": harness_id}
        if version is not None:
            request["harnessVersion"] = version
        with _translated(self._connection.control_url):
            return self._control.get_harness(**request)["harness"]

    def list_harnesses(self) -> list[Json]:
        """ListHarnesses, every page; the summaries."""
        with _translated(self._connection.control_url):
            pages = self._control.get_paginator("list_harnesses").paginate(
                PaginationConfig={"PageSize": PAGE}
            )
            return [summary for page in pages for summary in page["harnesses"]]

    def delete_harness(self, harness_id: str) -> Json:
        """DeleteHarness; the `harness` of the answer."""
        with _translated(self._connection.control_url):
            return self._control.delete_harness(harnessId=harness_id)["harness"]

    def control(self, operation: str, **request: Any) -> Json:
        """One operation of the control plane, by boto3's name of it; its whole answer."""
        with _translated(self._connection.control_url):
            return getattr(self._control, operation)(**request)

    def control_pages(self, operation: str, member: str, **request: Any) -> list[Json]:
        """A list operation of the control plane, every page; what `member` holds."""
        with _translated(self._connection.control_url):
            pages = self._control.get_paginator(operation).paginate(
                PaginationConfig={"PageSize": PAGE}, **request
            )
            return [entry for page in pages for entry in page[member]]

    def invoke_harness(self, request: Json, *, invocation_id: str) -> Stream:
        """InvokeHarness under an idempotency key of ours.

        Args:
            request: the operation's members.
            invocation_id: the key, sent as `x-everloop-invocation-id`.
        """

        def add_header(params: Json, **_: Any) -> None:
            params["headers"][INVOCATION_HEADER] = invocation_id
            if self._bearer_token is not None:
                params["headers"]["Authorization"] = f"Bearer {self._bearer_token}"

        signed = self._bearer_token is None
        client = self._client("bedrock-agentcore", self._connection.data_url, signed=signed)
        client.meta.events.register("before-call.bedrock-agentcore.InvokeHarness", add_header)
        with _translated(self._connection.data_url):
            answer = client.invoke_harness(**request)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return Stream(
            headers.get(INVOCATION_HEADER, invocation_id),
            _events(answer["stream"], self._connection.data_url),
        )

    def run_command(self, request: Json, *, invocation_id: str) -> Stream:
        """InvokeAgentRuntimeCommand under an idempotency key of ours; arguments as above."""

        def add_header(params: Json, **_: Any) -> None:
            params["headers"][INVOCATION_HEADER] = invocation_id

        client = self._client("bedrock-agentcore", self._connection.data_url)
        name = "before-call.bedrock-agentcore.InvokeAgentRuntimeCommand"
        client.meta.events.register(name, add_header)
        with _translated(self._connection.data_url):
            answer = client.invoke_agent_runtime_command(**request)
        return Stream(invocation_id, _events(answer["stream"], self._connection.data_url))

    def stop_session(self, harness_arn: str, session_id: str) -> Json:
        """StopRuntimeSession; its answer."""
        client = self._client("bedrock-agentcore", self._connection.data_url)
        with _translated(self._connection.data_url):
            return client.stop_runtime_session(
                agentRuntimeArn=harness_arn, runtimeSessionId=session_id
            )

    @cached_property
    def _control(self) -> Any:
        return self._client("bedrock-agentcore-control", self._connection.control_url)

    def _client(self, service: str, url: str, *, signed: bool = True) -> Any:
        boto3: Any = importlib.import_module("boto3")
        botocore: Any = importlib.import_module("botocore")
        config: Any = importlib.import_module("botocore.config")
        identity: Json = {}
        if self._connection.is_local and not _signs_with_own_key():
            identity = {
                "aws_access_key_id": ACCESS_KEY_ID,
                "aws_secret_access_key": SECRET_ACCESS_KEY,
            }
        with _translated(url):
            session = boto3.Session(region_name=self._connection.region, **identity)
            return session.client(
                service,
                endpoint_url=url,
                config=config.Config(
                    connect_timeout=CONNECT_S,
                    read_timeout=STREAM_SILENCE_S,
                    **({} if signed else {"signature_version": botocore.UNSIGNED}),
                ),
            )


def _signs_with_own_key() -> bool:
    """Whether the environment has a key of `everloop keys create`, for an API that verifies."""
    return os.environ.get("AWS_ACCESS_KEY_ID", "").startswith(KEY_PREFIX)


def has_credentials() -> bool:
    """Whether boto3 finds AWS credentials other than our own for development."""
    boto3: Any = importlib.import_module("boto3")
    with _translated("AWS"):
        found = boto3.Session().get_credentials()
    return found is not None and found.access_key != ACCESS_KEY_ID


def _events(stream: Any, url: str) -> Iterator[Json]:
    exceptions: Any = importlib.import_module("botocore.exceptions")
    urllib3: Any = importlib.import_module("urllib3.exceptions")
    try:
        yield from stream
    except exceptions.EventStreamError as error:
        raise _api_error(error) from error
    except (exceptions.BotoCoreError, urllib3.HTTPError, OSError) as error:
        raise StreamBroken(f"the stream from {url} broke off: {_one_line(error)}") from error
    finally:
        stream.close()


@contextmanager
def _translated(url: str) -> Generator[None]:
    exceptions: Any = importlib.import_module("botocore.exceptions")
    try:
        with reaching(url):
            yield
    except exceptions.ClientError as error:
        raise _api_error(error) from error
    except exceptions.ParamValidationError as error:
        raise UsageError(_one_line(error)) from error
    except exceptions.BotoCoreError as error:
        raise CommandError(_one_line(error)) from error


def _api_error(error: Any) -> ApiError:
    detail = error.response.get("Error", {})
    # In a stream an error carries its member's name, which begins in lower case.
    code = detail.get("Code") or "UnknownError"
    return ApiError(code[0].upper() + code[1:], detail.get("Message") or "(no message)")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
