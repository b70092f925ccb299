"""What a handler of one of our own paths is given, and what it may give back."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from api.body import load
from api.context import Context
from contracts.decisions import NOBODY, Principal
from contracts.errors import invalid
from contracts.faults import Faults

#: Where what is not AWS's is.
PREFIX = "/everloop/v1/"

_Value = TypeVar("_Value", bound=BaseModel)


@dataclass(frozen=True)
class OwnRequest:
    """A request to one of our own paths.

    Attributes:
        labels: the path's named segments, decoded.
        query: the query's parameters; of repeated ones the last.
        headers: header values by lower-case name.
        body: the whole body, which the signature fits.
        scheme: `http` or `https`.
        principal: who sends it.
    """

    labels: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"
    principal: Principal = NOBODY

    def read(self, kind: type[_Value]) -> _Value:
        """The body as a value.

        Raises:
            ServiceError: ValidationException naming every member that is wrong.
        """
        return read_value(kind, load(self.body or b"{}"))

    def whole(self, name: str, *, default: int, low: int, high: int) -> int:
        """A query parameter that is a whole number.

        Raises:
            ServiceError: ValidationException naming it and its bounds.
        """
        given = self.query.get(name, str(default))
        if not given.isdecimal() or not low <= int(given) <= high:
            raise invalid(name, f"must be a whole number from {low} to {high}")
        return int(given)


def read_value(kind: type[_Value], value: Any, *, path: str = "") -> _Value:
    """JSON that a client sent, as one of our values.

    Args:
        kind: what it must be.
        value: the parsed JSON.
        path: where it stands in the request, for the names of what is wrong.

    Raises:
        ServiceError: ValidationException naming every member that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = Faults()
        found = error.errors(include_url=False, include_input=False, include_context=False)
        places = [each["loc"] for each in found]
        for each in found:
            place = each["loc"]
            if each["type"] == "too_short" and any(
                place == other[: len(place)] and place != other for other in places
            ):
                # What is wrong within does not count: pydantic finds the rest too short.
                continue
            steps = [path] if path else []
            steps += [str(step) for step in place]
            message = each["msg"].removeprefix("Value error, ").replace("Tuple", "List")
            faults.add(".".join(steps) or "body", message)
        faults.raise_if_any()
        raise


#: JSON of a 200, or a response that the handler made itself.
OwnResult = Mapping[str, Any] | Response
OwnHandler = Callable[[Context, OwnRequest], Awaitable[OwnResult]]
