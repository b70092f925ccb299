from typing import Any, Literal, cast

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, field_validator

import everloop
from contracts.ids import RUNTIME_SESSION_ID
from everloop.output import OutputType, asked

untyped: Any = OutputType
validator: Any = Draft202012Validator


class Node(BaseModel):
    name: str
    children: list["Node"] = []


class Even(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (Node, None, None),
        (list[Node], None, None),
        (int, {"result": 3}, 3),
        (Literal["ship", "hold"], {"result": "hold"}, "hold"),
        (dict[str, int], {"a": 1}, {"a": 1}),
    ],
)
def test_every_type_has_a_schema_of_an_object(
    wanted: type, value: object, expected: object
) -> None:
    shape = asked(wanted)
    assert shape is not None and shape.schema["type"] == "object"
    Draft202012Validator.check_schema(shape.schema)
    if isinstance(value, dict):
        validator(shape.schema).validate(value)
        assert shape.read(cast(dict[str, Any], value)) == expected


def test_definitions_are_found_from_the_root() -> None:
    shape = asked(list[Node])
    assert shape is not None
    value = {"result": [{"name": "a", "children": [{"name": "b"}]}]}
    validator(shape.schema).validate(value)
    assert shape.read(value)[0].children[0].name == "b"


def test_a_schema_is_taken_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert untyped.of(schema).read({"a": "b"}) == {"a": "b"}
    with pytest.raises(ValueError, match="object"):
        untyped.of({"type": "string"})


def test_what_only_the_type_refuses_is_an_error() -> None:
    with pytest.raises(ValueError, match="odd"):
        untyped.of(Even).read({"number": 3})


@pytest.mark.parametrize("parts", [("order", 42), ("ä" * 200,), ("",), ("-x-",)])
def test_session_ids_fit_the_wire_and_stay_the_same(parts: tuple[str | int, ...]) -> None:
    made = everloop.session_id(*parts)
    assert RUNTIME_SESSION_ID.fullmatch(made)
    assert made == everloop.session_id(*parts)


def test_session_ids_tell_parts_apart() -> None:
    assert everloop.session_id("a", "b") != everloop.session_id("a-b")
