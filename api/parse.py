"""From an HTTP request to an operation's parameters, driven by the input shape (AWS restJson1).

What cannot be read at all ends the request; what has the wrong type is noted as a fault and stands
as `INVALID` in its place, so that validation can go on and name every fault at once.
"""

import json
from typing import Any, Final

from api.faults import Faults, shown
from api.json_values import as_list, as_object
from api.request import WireRequest
from api.scalars import (
    INTEGER_BOUND,
    blob,
    boolean,
    decimal_number,
    finite,
    read_time,
    whole_number,
)
from api.shapes import Member, Shape
from contracts.errors import AwsError, Reason, ServiceError

#: Real requests nest less than 20 deep; recursion over a body must end well before Python's limit.
MAX_DEPTH = 100

#: Parameters of a presigned URL belong to the signature, not to the operation.
SIGNATURE_PREFIX = "X-Amz-"

#: Stands where a member had the wrong type.
INVALID: Final = object()

Params = dict[str, Any]


def parse(
    shape: Shape | None,
    labels: dict[str, str],
    request: WireRequest,
    constants: tuple[tuple[str, str], ...],
    faults: Faults,
) -> Params:
    """Read an operation's parameters.

    Args:
        shape: the operation's input; None when it takes nothing.
        labels: the decoded labels of its path.
        request: the request.
        constants: query parameters that belong to the route.
        faults: takes what has the wrong type or is unknown.

    Returns:
        The parameters by member name, as an SDK's caller gave them. Timestamps are UTC datetimes,
        blobs bytes, documents plain JSON values.

    Raises:
        ServiceError: a ValidationException with reason CannotParse: the body is not JSON.
    """
    if shape is None:
        return {}
    params: Params = {}
    for member in shape.members.values():
        if member.location in ("uri", "header"):
            source = labels if member.location == "uri" else request.headers
            key = member.wire_name if member.location == "uri" else member.wire_name.lower()
            if key in source:
                params[member.name] = _from_text(member, source[key], faults)
        elif member.location == "headers":
            params |= _prefixed(member, request)
    params |= _query(shape, request.query, constants, faults)
    params |= _body(shape, request.body, faults)
    return params


def _prefixed(member: Member, request: WireRequest) -> Params:
    prefix = member.wire_name.lower()
    found = {
        name[len(prefix) :]: value
        for name, value in request.headers.items()
        if name.startswith(prefix)
    }
    return {member.name: found} if found else {}


def _query(
    shape: Shape,
    query: list[tuple[str, str]],
    constants: tuple[tuple[str, str], ...],
    faults: Faults,
) -> Params:
    members = {m.wire_name: m for m in shape.members.values() if m.location == "querystring"}
    # An empty list leaves no trace in a query.
    params: Params = {
        m.name: [] for m in members.values() if m.shape.kind == "list" and m.name in shape.required
    }
    for pair in query:
        name, value = pair
        member = members.get(name)
        if pair in constants or name.startswith(SIGNATURE_PREFIX):
            continue
        if member is None:
            allowed = ", ".join(members) or "none"
            faults.add(name[:100], f"is not a query parameter of this operation; it has {allowed}")
        elif member.shape.kind == "list":
            item = Member(member.name, member.wire_name, None, member.shape.items)
            params.setdefault(member.name, []).append(_from_text(item, value, faults))
        elif member.name in params:
            faults.add(member.name, "stands twice in the query")
        else:
            params[member.name] = _from_text(member, value, faults)
    return params


def _from_text(member: Member, text: str, faults: Faults) -> Any:
    """A value of a label, header or query parameter."""
    try:
        match member.shape.kind:
            case "integer" | "long":
                return whole_number(text)
            case "float" | "double":
                return decimal_number(text)
            case "boolean":
                return boolean(text)
            case "timestamp":
                default = "rfc822" if member.location == "header" else "iso8601"
                return read_time(text, member.timestamp_format or default)
            case _:
                return text
    except ValueError as error:
        faults.add(member.name, str(error))
        return INVALID


def _body(shape: Shape, body: bytes, faults: Faults) -> Params:
    if shape.payload is None:
        parsed = _structure(shape, _load(body or b"{}"), "", faults, 0)
        return {} if parsed is INVALID else parsed
    member = shape.members[shape.payload]
    if member.shape.kind in ("blob", "string"):
        return {member.name: body if member.shape.kind == "blob" else body.decode()}
    if not body:
        return {}
    return {member.name: _value(member.shape, _load(body), member.name, faults, 0)}


def _load(body: bytes) -> Any:
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


def _structure(shape: Shape, value: Any, path: str, faults: Faults, depth: int) -> Any:
    content = as_object(value)
    if content is None:
        faults.add(path or "body", "must be an object")
        return INVALID
    prefix = f"{path}." if path else ""
    params: Params = {}
    for key, item in content.items():
        member = shape.wire_names.get(key)
        if member is None:
            allowed = ", ".join(shape.wire_names) or "none"
            faults.add(f"{prefix}{key[:100]}", f"is not a member; {shape.name} has {allowed}")
        elif item is not None:
            params[member.name] = _value(
                member.shape, item, prefix + member.name, faults, depth + 1, member.timestamp_format
            )
        if faults.full:
            break
    return params


def _value(
    shape: Shape, value: Any, path: str, faults: Faults, depth: int, time_form: str | None = None
) -> Any:
    if depth > MAX_DEPTH:
        faults.add(path, f"is nested deeper than {MAX_DEPTH} levels")
        return INVALID
    match shape.kind:
        case "structure":
            return _structure(shape, value, path, faults, depth)
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
        found.append(_value(shape.items, item, f"{path}[{index}]", faults, depth + 1))
        if faults.full:
            break
    return found


def _map(shape: Shape, value: Any, path: str, faults: Faults, depth: int) -> Any:
    entries = as_object(value)
    if entries is None:
        faults.add(path, "must be an object")
        return INVALID
    return {
        key: _value(shape.items, item, f"{path}[{key[:100]}]", faults, depth + 1)
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
