"""What botocore raises when a server cannot be reached, as the command's own error."""

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from everloop.cli.errors import CommandError


class Unreachable(CommandError):
    """Nobody answered; whether the request arrived is unknown."""


@contextmanager
def reaching(url: str) -> Generator[None]:
    """Send requests of botocore's to a server.

    Raises:
        Unreachable: it cannot be reached, or did not answer in time.
    """
    exceptions: Any = importlib.import_module("botocore.exceptions")
    try:
        yield
    except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
        told = " ".join(str(error).split())
        raise Unreachable(f"cannot reach the API at {url}: {told}") from error
