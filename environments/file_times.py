"""Times of files, which commands may set to what no calendar has."""

from datetime import UTC, datetime

#: Far enough from the ends of the calendar for any zone.
FIRST, LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """A time of a file in UTC; the nearest that a calendar has.

    Args:
        seconds: since 1970.
    """
    if seconds >= LAST.timestamp():
        return LAST
    return max(datetime.fromtimestamp(max(seconds, FIRST.timestamp()), UTC), FIRST)
