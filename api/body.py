"""A JSON body as values, driven by its shape: names, types, times by their format, free documents.

What has the wrong type is noted as a fault and stands as `INVALID` in its place.
"""

import json
from typing import Any

from api.scalars import INTEGER_BOUND, blob, finite, read_time
from api.shapes import Shape
from contracts.errors import AwsError, Reason, ServiceError
from contracts.faults import INVALID, Faults, shown
from contracts.json_values import as_list, as_object

#: Real requests nest less than 20 deep; recursion over a body must end well before Python's limit.
MAX_DEPTH = 100


def load(body: bytes) -> Any:
    """A body's JSON.

    Raises:
        ServiceError: a ValidationException with reason CannotParse.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _cannot_parse("it is nested too deeply") from error
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise _cannot_parse(f"it is not JSON{where}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _cannot_parse(why: str) -> ServiceError:
    return ServiceError(
        AwsError.VALIDATION, f"The request body cannot be read: {why}.", reason=Reason.CANNOT_PARSE
    )


def read_structure(shape: Shape, value: Any, path: str, faults: Faults, depth: int = 0) -> Any:
    """A structure's members by their names; null counts as absent.

    Args:
        shape: the structure's shape.
        value: what JSON holds in its place.
        path: where it stands in the request; empty for the body itself.
        faults: takes what has the wrong type or is unknown.
        depth: how deep it is nested.

    Returns:
        The members, or `INVALID`.
    """
    content = as_object(value)
    if content is None:
        faults.add(path or "body", "must be an object")
        return INVALID
    prefix = f"{path}." if path else ""
    params: dict[str, Any] = {}
    for key, item in content.items():
        member = shape.wire_names.get(key)
        if member is None:
            allowed = ", ".join(shape.wire_names) or "none"
            faults.add(f"{prefix}{key[:100]}", f"is not a member; {shape.name} has {allowed}")
        elif item is not None:
            params[member.name] = read_value(
                member.shape, item, prefix + member.name, faults, depth + 1, member.timestamp_format
            )
        if faults.full:
            break
    return params


def read_value(
    shape: Shape,
    value: Any,
    path: str,
    faults: Faults,
    depth: int = 0,
    time_form: str | None = None,
) -> Any:
    """A value of any shape, as `read_structure`; `time_form` is its member's `timestampFormat`."""
    if depth > MAX_DEPTH:
        faults.add(path, f"is nested deeper than {MAX_DEPTH} levels")
        return INVALID
    match shape.kind:
        case "structure":
            return read_structure(shape, value, path, faults, depth)
        case "document":
            return _document(value, path, faults, depth)
        case "list":
            return _list(shape, value, path, faults, depth)
        case "map":
            return _map(shape, value, path, faults, depth)
        case _:
            return _scalar(shape, value, path, faults, time_form or shape.timestamp_format)


def _list(shape: Shape, value: Any, path: str, faults: Faults, depth: int) -> Any:
    items = as_list(value)
    if items is None:
        faults.add(path, "must be a list")
        return INVALID
    found: list[Any] = []
    for index, item in enumerate(items):
        found.append(read_value(shape.items, item, f"{path}[{index}]", faults, depth + 1))
        if faults.full:
            break
    return found


def _map(shape: Shape, value: Any, path: str, faults: Faults, depth: int) -> Any:
    entries = as_object(value)
    if entries is None:
        faults.add(path, "must be an object")
        return INVALID
    return {
        key: read_value(shape.items, item, f"{path}[{key[:100]}]", faults, depth + 1)
        for key, item in entries.items()
    }


def _scalar(shape: Shape, value: Any, path: str, faults: Faults, time_form: str | None) -> Any:
    try:
        return _read_scalar(shape, value, time_form)
    except ValueError as error:
        got = "" if shape.sensitive else f", not {shown(value)}"
        faults.add(path, f"{error}{got}")
        return INVALID


def _read_scalar(shape: Shape, value: Any, time_form: str | None) -> Any:
    kind = shape.kind
    if kind == "timestamp":
        return read_time(value, time_form or "unixTimestamp")
    if kind == "boolean":
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if kind in INTEGER_BOUND:
        return _whole(value, INTEGER_BOUND[kind])
    if kind in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number")
        return finite(value) if isinstance(value, float) else value
    if not isinstance(value, str):
        raise ValueError("must be a string")
    _check_text(value)
    return blob(value) if kind == "blob" else value


def _whole(value: Any, bound: int) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) < bound:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    if not -bound <= value < bound:
        raise ValueError(f"must be at least {-bound} and at most {bound - 1}")
    return value


def _check_text(value: str) -> None:
    """JSON can spell half a surrogate pair, which no database and no UTF-8 can hold."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("must hold no unpaired surrogates") from error


def _document(value: Any, path: str, faults: Faults, depth: int) -> Any:
    """Free JSON: any shape, but of bounded depth and writable as JSON again."""
    try:
        _check_document(value, depth)
    except ValueError as error:
        faults.add(path, str(error))
        return INVALID
    return value


def _check_document(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        finite(value)
    elif (entries := as_object(value)) is not None:
        for key, item in entries.items():
            _check_text(key)
            _check_document(item, depth + 1)
    else:
        for item in as_list(value) or ():
            _check_document(item, depth + 1)
