"""Every operation of both services is served, or says that it is not."""

import re
from typing import Any

import pytest

from api.handlers import HANDLERS
from tests.api.conftest import ApiProcess
from tests.api.oracle import OPERATIONS, operation_model
from tests.api.raw import call

UNSERVED = [one for one in OPERATIONS if one not in HANDLERS]


def path_of(http: dict[str, Any]) -> str:
    """A path of the operation, with something in the place of each label."""
    return re.sub(r"\{[^}]+\}", "a", http["requestUri"])


@pytest.mark.wire("error.not-served")
def test_every_operation_without_a_handler_says_so(api: ApiProcess) -> None:
    assert UNSERVED
    for service, name in UNSERVED:
        http = operation_model(service, name).http
        answer = call(api.port, http["method"], path_of(http), {})
        assert (answer.status, answer.error) == (501, "NotImplementedException"), name
        assert f"Operation {name} of {service} is not served" in answer.json["message"]


@pytest.mark.wire("error.not-served")
def test_every_operation_with_a_handler_answers_for_itself(api: ApiProcess) -> None:
    for service, name in HANDLERS:
        http = operation_model(service, name).http
        answer = call(api.port, http["method"], path_of(http), {"surprise": 1})
        assert answer.status < 500, name
