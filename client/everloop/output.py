"""Structured results: from a Python type to the schema that a model is shown, and back.

A tool's arguments are an object, so any other type travels in an object's one member.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

#: Holds a result whose type is not an object.
_MEMBER = "result"


@dataclass(frozen=True)
class OutputType(Generic[T]):
    """How a result is asked for and read.

    Attributes:
        schema: JSON schema of an object.
    """

    schema: dict[str, Any]
    _adapter: TypeAdapter[T] | None
    _wrapped: bool

    @classmethod
    def of(cls, wanted: type[T] | Mapping[str, Any]) -> "OutputType[T]":
        """From a type that pydantic knows, or a JSON schema of an object.

        Raises:
            ValueError: the schema is not one of an object.
        """
        if isinstance(wanted, Mapping):
            schema = dict(wanted)
            if schema.get("type") != "object":
                raise ValueError("output: a JSON schema must have type object")
            return cls(schema, None, False)
        adapter: TypeAdapter[T] = TypeAdapter(wanted)
        schema = adapter.json_schema()
        if schema.get("type") == "object":
            return cls(schema, adapter, False)
        definitions = schema.pop("$defs", None)
        whole: dict[str, Any] = {
            "type": "object",
            "properties": {_MEMBER: schema},
            "required": [_MEMBER],
        }
        if definitions:
            whole["$defs"] = definitions
        return cls(whole, adapter, True)

    def read(self, value: dict[str, Any]) -> T:
        """The result as a value of the type.

        Raises:
            ValueError: it fits the schema and yet not the type, as with validators of its own.
        """
        inner: Any = value.get(_MEMBER) if self._wrapped else value
        if self._adapter is None:
            return inner
        try:
            return self._adapter.validate_python(inner)
        except ValidationError as error:
            raise ValueError(str(error)) from error


def asked(output: Any) -> OutputType[Any] | None:
    """The result that a caller's `output` asks for; None when it is None."""
    return None if output is None else OutputType[Any].of(output)
