"""Numbers, times and bytes on the wire, read and written as a service model says."""

import base64
import binascii
import math
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

_WHOLE = re.compile(r"-?[0-9]{1,19}")
_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")

#: RFC 3339 as AWS's SDKs write it.
_ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})")

#: The years 1 to 9999, in seconds since 1970.
_EPOCH_LOW, _EPOCH_HIGH = -62135596800, 253402300799

#: Whole numbers that the model's `integer` and `long` can hold.
INTEGER_BOUND = {"integer": 2**31, "long": 2**63}


def whole_number(text: str) -> int:
    """Read a whole number of a query parameter or header.

    Raises:
        ValueError: it is not one.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number")
    return int(text)


def decimal_number(text: str) -> float:
    """Read a number of a query parameter or header.

    Raises:
        ValueError: it is not one, or too large.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError("must be a number")
    return finite(float(text))


def finite(value: float) -> float:
    """The number itself.

    Raises:
        ValueError: it is infinite or not a number.
    """
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def boolean(text: str) -> bool:
    """Read `true` or `false`.

    Raises:
        ValueError: it is neither.
    """
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def blob(text: str) -> bytes:
    """Read base64.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64") from error


def read_time(value: object, form: str) -> datetime:
    """Read a point in time.

    Args:
        value: a string for `iso8601` and `rfc822`, a number for `unixTimestamp`.
        form: the model's `timestampFormat`.

    Returns:
        The time in UTC.

    Raises:
        ValueError: it has another form.
    """
    if form == "unixTimestamp":
        return _from_epoch(value)
    if form == "rfc822":
        try:
            return parsedate_to_datetime(str(value)).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError("must be a date as in RFC 822") from error
    if not isinstance(value, str) or not _ISO_TIME.fullmatch(value):
        raise ValueError("must be a time in UTC such as 2026-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time that exists") from error


def _from_epoch(value: object) -> datetime:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of seconds since 1970")
    if not _EPOCH_LOW <= value <= _EPOCH_HIGH:
        raise ValueError("must be a time in the years 1 to 9999")
    return datetime.fromtimestamp(value, UTC)


def write_time(value: datetime, form: str) -> str | int | float:
    """Write a point in time as the model's `timestampFormat` says, with what fraction it has."""
    moment = value.astimezone(UTC)
    if form == "unixTimestamp":
        seconds = moment.timestamp()
        return int(seconds) if seconds.is_integer() else round(seconds, 3)
    if form == "rfc822":
        return format_datetime(moment, usegmt=True)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
