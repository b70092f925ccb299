"""The two bases of every pydantic value in this room."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Value(BaseModel):
    """An immutable value with our own snake_case field names; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WireValue(BaseModel):
    """An immutable value written in AWS's camelCase; unknown members are refused, never dropped."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
