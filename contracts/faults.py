"""What is wrong with a request: every fault is collected, so that one answer names them all."""

from typing import Final

from contracts.errors import AwsError, FieldError, Reason, ServiceError

#: Stands where a member had the wrong type, so that the other members can still be checked.
INVALID: Final = object()

#: A caller mends a request in one go with this many; more would only make the answer long.
MAX_FAULTS = 50
#: Enough of a refused value to recognise it.
SHOWN_CHARACTERS = 80


class Faults:
    """A growing list of faults, each with the path of the member at fault."""

    def __init__(self, base: str = "") -> None:
        """Begin without faults; the members that are named stand in `base`."""
        self._base = f"{base}." if base else ""
        self._found: list[FieldError] = []

    def __bool__(self) -> bool:
        """Whether there are faults."""
        return bool(self._found)

    @property
    def full(self) -> bool:
        """Whether looking for more is pointless."""
        return len(self._found) >= MAX_FAULTS

    def add(self, path: str, message: str) -> None:
        """Note a fault.

        Args:
            path: the member, as `tools[0].config.inlineFunction.description`.
            message: what is wrong and what is allowed.
        """
        if not self.full:
            self._found.append(FieldError(f"{self._base}{path}", message))

    def raise_if_any(self) -> None:
        """End the request when there are faults.

        Raises:
            ServiceError: a ValidationException with reason FieldValidationFailed and all faults.
        """
        if self._found:
            raise ServiceError(
                AwsError.VALIDATION,
                "; ".join(f"{each.name}: {each.message}" for each in self._found),
                reason=Reason.FIELD_VALIDATION_FAILED,
                fields=tuple(self._found),
            )


def shown(value: object) -> str:
    """A refused value, cut to a length fit for an error message."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
