"""Errors as the service models declare them."""

import pytest

from api.errors import error_answer
from api.model import DATA, wire_model
from contracts.errors import AwsError, ErrorDetail

STATUSES = {
    AwsError.VALIDATION: 400,
    AwsError.QUOTA: 402,
    AwsError.ACCESS_DENIED: 403,
    AwsError.NOT_FOUND: 404,
    AwsError.CONFLICT: 409,
    AwsError.RUNTIME_CLIENT: 424,
    AwsError.THROTTLING: 429,
    AwsError.INTERNAL: 500,
}


@pytest.mark.wire("error.statuses", "error.form")
@pytest.mark.parametrize("error", STATUSES)
def test_each_modelled_error_has_its_status(error: AwsError) -> None:
    operation = wire_model().operations[DATA, "InvokeHarness"]
    answer = error_answer(ErrorDetail(error, "Said so."), operation)
    assert answer.status == STATUSES[error]
    assert answer.headers["x-amzn-errortype"] == error.value
    assert answer.body == b'{"message": "Said so."}'
