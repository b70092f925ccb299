"""Tokens of pages.

A token says where a page ended, so that the next one begins behind it whatever was inserted.
"""

import base64
import binascii
import json
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from contracts.errors import Reason, ServiceError, invalid

#: `maxResults` of AWS's list operations goes to 100.
MAX_PAGE = 100

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
        raise bad_token() from error
    if created_at.tzinfo is None or "\0" in identifier:
        raise bad_token()
    return created_at, identifier


def check_limit(limit: int) -> None:
    """Check how many entries a page may have.

    Raises:
        ServiceError: ValidationException.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise invalid("maxResults", f"must be from 1 to {MAX_PAGE}, not {limit}")


def bad_token() -> ServiceError:
    """The error for a token that its operation did not return."""
    return invalid(
        "nextToken",
        "is not a token that this operation returned; leave it out to begin",
        reason=Reason.CANNOT_PARSE,
    )
