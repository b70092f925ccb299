"""Tokens of pages.

A token says where a page ended, so that the next one begins behind it whatever was inserted.
"""

import base64
import binascii
import json
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from contracts.errors import Reason, ServiceError, invalid

_PLACE: TypeAdapter[tuple[datetime, str]] = TypeAdapter(tuple[datetime, str])


def encode_token(created_at: datetime, identifier: str) -> str:
    """The `nextToken` of a page whose last entry is this one."""
    place = json.dumps([created_at.isoformat(), identifier])
    return base64.urlsafe_b64encode(place.encode()).decode()


def decode_token(token: str) -> tuple[datetime, str]:
    """Where the page before ended: creation time, UTC, and identifier.

    Raises:
        ServiceError: ValidationException; the token is none that `encode_token` made.
    """
    try:
        created_at, identifier = _PLACE.validate_json(
            base64.b64decode(token, altchars=b"-_", validate=True)
        )
    except (binascii.Error, ValidationError, ValueError) as error:
        raise _bad() from error
    if created_at.tzinfo is None or "\0" in identifier:
        raise _bad()
    return created_at, identifier


def _bad() -> ServiceError:
    return invalid(
        "nextToken",
        "is not a token that this operation returned; leave it out to begin",
        reason=Reason.CANNOT_PARSE,
    )
