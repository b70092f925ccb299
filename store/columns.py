"""Column types: contract values as JSON, times in UTC, and text that others wrote."""

import json
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

#: JSON on SQLite, JSONB on PostgreSQL. The engine hands text through unchanged, see `store.engine`.
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

#: Stands for what databases cannot hold: NUL, and halves of surrogate pairs.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """Text that both databases can hold: NUL and lone surrogates become U+FFFD.

    PostgreSQL refuses NUL in text and in JSONB, and nobody can encode a lone surrogate; models and
    commands produce both.
    """
    if text.isascii() and "\0" not in text:
        return text
    return "".join(
        _REPLACEMENT if char == "\0" or "\ud800" <= char <= "\udfff" else char for char in text
    )


def _storable_value(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {storable(key): _storable_value(item) for key, item in items}
    if isinstance(value, list):
        return [_storable_value(item) for item in cast("list[Any]", value)]
    return value


class Document(sa.TypeDecorator[Any]):
    """A pydantic-checked value, kept as JSON and read back as that value."""

    impl = JSON
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        """Make a column type.

        Args:
            shape: what `pydantic.TypeAdapter` takes: a model, a union, a tuple of models.
        """
        super().__init__()
        self.shape = shape
        self._adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write a value as JSON text."""
        return None if value is None else self.encode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read JSON text as a value."""
        return None if value is None else self._adapter.validate_json(value)

    def encode(self, value: Any) -> str:
        """The JSON text that is stored for `value`."""
        try:
            text = self._adapter.dump_json(value).decode()
        except PydanticSerializationError:
            text = "\\u0000"
        if "\\u0000" in text:
            plain = self._adapter.dump_python(value, mode="json")
            text = json.dumps(_storable_value(plain), ensure_ascii=False, separators=(",", ":"))
        return text


class Words(sa.TypeDecorator[str]):
    """Short text from a model, a sandbox or a client."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what databases cannot hold."""
        return None if value is None else storable(value)


class Utc(sa.TypeDecorator[datetime]):
    """A moment, aware and in UTC; SQLite keeps no zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Write the moment in UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read the moment as UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
