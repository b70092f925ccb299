"""The idempotency key of a call of InvokeHarness, from its headers."""

import uuid
from collections.abc import Mapping

from contracts.errors import invalid
from contracts.ids import INVOCATION_ID

INVOCATION_HEADER = "x-everloop-invocation-id"
#: AWS's SDKs send the same one with each of their own retries of a call.
SDK_INVOCATION_HEADER = "amz-sdk-invocation-id"


def given_invocation_id(headers: Mapping[str, str]) -> str:
    """What the caller calls its invocation, unchecked; empty when it does not."""
    return headers.get(INVOCATION_HEADER) or headers.get(SDK_INVOCATION_HEADER, "")


def read_invocation_id(headers: Mapping[str, str]) -> str:
    """What the caller calls its invocation; a new id when it does not.

    Raises:
        ServiceError: ValidationException naming the header.
    """
    given = headers.get(INVOCATION_HEADER)
    if given is not None:
        if not INVOCATION_ID.fullmatch(given):
            raise invalid(INVOCATION_HEADER, f"must match {INVOCATION_ID.pattern}")
        return given
    sdk = headers.get(SDK_INVOCATION_HEADER, "")
    return sdk if INVOCATION_ID.fullmatch(sdk) else str(uuid.uuid4())
