"""A server that is away, as callers of our own paths and of AWS's operations learn of it."""

import socket
from collections.abc import Iterator

import pytest

from everloop.cli.aws import Aws
from everloop.cli.connection import Connection
from everloop.cli.reach import Unreachable
from everloop.inbox import Inbox


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a port that is taken and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_refused_connection_is_a_server_that_cannot_be_reached(nobody: str) -> None:
    with pytest.raises(Unreachable, match=f"cannot reach the API at {nobody}"):
        list(Inbox.at(nobody).list())
    with pytest.raises(Unreachable, match=f"cannot reach the API at {nobody}"):
        Aws(Connection(nobody, nobody, "us-east-1")).get_harness("agent-abcdefghij")
