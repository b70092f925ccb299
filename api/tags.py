"""The rule for tags that AWS's service model does not state."""

from collections.abc import Mapping

from contracts.faults import Faults

#: AWS keeps keys that begin so to itself, in any case (AWS General Reference, tagging).
RESERVED_PREFIX = "aws:"


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that a user may not set.

    Raises:
        ServiceError: ValidationException naming each of them.
    """
    faults = Faults()
    for key in tags:
        if key.lower().startswith(RESERVED_PREFIX):
            faults.add(f"tags[{key}]", f"must not begin with {RESERVED_PREFIX}, which is reserved")
    faults.raise_if_any()
