"""Conditions on a tool call's arguments: a small closed grammar, evaluated in linear time.

A path is a JSON pointer (RFC 6901). Regular expressions are those of Rust's `regex` crate, through
pydantic-core: no look-around, no backreferences, and no input on which they backtrack.
"""

from functools import lru_cache
from typing import Annotated, Any, Literal, cast

from pydantic import (
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import SchemaError

from contracts.base import WireValue

#: Longer expressions belong in code.
MAX_PATTERN = 256
MAX_PATH = 256
#: Values that `in` lists.
MAX_LISTED = 100
#: Expressions are few and repeat with every call.
KEPT_PATTERNS = 256

Operator = Literal["equals", "notEquals", "in", "matches", "greaterThan", "lessThan", "exists"]

_MISSING = object()


class Condition(WireValue):
    """One condition.

    Attributes:
        path: JSON pointer into the arguments, as `/to/0/address`.
        operator: how the value there is compared. On a value that is absent or of another type only
            `notEquals` and `exists: false` hold. `matches` looks for the expression anywhere in a
            string; `greaterThan` and `lessThan` compare numbers.
        value: what it is compared with; for `exists` true or false.
    """

    path: Annotated[str, Field(pattern=r"^(/[^/]*)+$", max_length=MAX_PATH)]
    operator: Operator
    value: JsonValue

    @model_validator(mode="after")
    def _value_fits(self) -> "Condition":
        value = self.value
        match self.operator:
            case "in" if not isinstance(value, list) or not 1 <= len(value) <= MAX_LISTED:
                raise ValueError(f"value of in must be a list of 1 to {MAX_LISTED} values")
            case "exists" if not isinstance(value, bool):
                raise ValueError("value of exists must be true or false")
            case "greaterThan" | "lessThan" if not _is_number(value):
                raise ValueError(f"value of {self.operator} must be a number")
            case "matches":
                if not isinstance(value, str) or len(value) > MAX_PATTERN:
                    raise ValueError(f"value of matches must be at most {MAX_PATTERN} characters")
                try:
                    _expression(value)
                except SchemaError:
                    raise ValueError(
                        "value of matches is no regular expression of Rust's regex crate, or too "
                        "large a one; look-around and backreferences are not part of it"
                    ) from None
            case _:
                pass
        return self

    def holds(self, arguments: dict[str, Any]) -> bool:
        """Whether it holds for these arguments."""
        found = _at(self.path, arguments)
        if self.operator == "exists":
            return (found is not _MISSING) is self.value
        if self.operator == "notEquals":
            return not _equal(found, self.value)
        if found is _MISSING:
            return False
        match self.operator:
            case "equals":
                return _equal(found, self.value)
            case "in":
                return any(_equal(found, one) for one in cast("list[Any]", self.value))
            case "matches":
                return isinstance(found, str) and _found(str(self.value), found)
            case "greaterThan":
                return _is_number(found) and found > cast("float", self.value)
            case "lessThan":
                return _is_number(found) and found < cast("float", self.value)

    def __str__(self) -> str:
        """For people, without what the arguments hold."""
        return f"{self.path} {self.operator} {self.value!r}"


def _at(path: str, arguments: dict[str, Any]) -> Any:
    value: Any = arguments
    for step in path.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = cast("dict[str, Any]", value)[name]
        elif isinstance(value, list) and _is_index(name, cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(name)]
        else:
            return _MISSING
    return value


def _is_index(name: str, values: list[Any]) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < len(values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        left, right = cast("list[Any]", one), cast("list[Any]", other)
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(one, dict) and isinstance(other, dict):
        a, b = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return a.keys() == b.keys() and all(_equal(a[name], b[name]) for name in a)
    return one == other


def _found(expression: str, text: str) -> bool:
    try:
        # A lone surrogate cannot be handed to Rust; it is no match for anything written.
        _expression(expression).validate_python(text.encode("utf-8", "replace").decode())
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=KEPT_PATTERNS)
def _expression(expression: str) -> TypeAdapter[str]:
    return TypeAdapter(Annotated[str, StringConstraints(pattern=expression)])
