"""From a handler's result to an HTTP answer, driven by the output shape (AWS restJson1)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.scalars import write_time
from api.shapes import Shape


@dataclass(frozen=True)
class Answer:
    """An HTTP answer before it is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


def serialise(shape: Shape | None, status: int, result: Mapping[str, Any]) -> Answer:
    """Write an operation's result.

    Args:
        shape: the operation's output; None when it answers with nothing.
        status: the HTTP status of a success.
        result: members by name; None counts as absent. Times are datetimes, blobs bytes.

    Returns:
        The answer: status, headers that members are bound to, JSON body.

    Raises:
        KeyError: the result lacks a required member, or has one that the shape does not.
    """
    if shape is None:
        return Answer(status)
    _check_members(shape, result)
    headers: dict[str, str] = {}
    for name, value in result.items():
        member = shape.members[name]
        if member.location == "statusCode":
            status = int(value)
        elif member.location == "header" and value is not None:
            headers[member.wire_name] = _header(value, member.timestamp_format)
    body = _body(shape, result)
    if body and "Content-Type" not in headers:
        headers["Content-Type"] = "application/json"
    return Answer(status, headers, body)


def to_json(shape: Shape, value: Any, time_form: str | None = None) -> Any:
    """A value as it stands in a JSON body.

    Args:
        shape: its type.
        value: the value.
        time_form: `timestampFormat` of its member; the body's default is `unixTimestamp`.
    """
    match shape.kind:
        case "structure":
            _check_members(shape, value)
            return {
                member.wire_name: to_json(member.shape, item, member.timestamp_format)
                for name, item in value.items()
                if item is not None and (member := shape.members[name]).location is None
            }
        case "list":
            return [to_json(shape.items, item) for item in value]
        case "map":
            return {key: to_json(shape.items, item) for key, item in value.items()}
        case "timestamp":
            return write_time(value, time_form or shape.timestamp_format or "unixTimestamp")
        case "blob":
            return base64.b64encode(value).decode()
        case _:
            return value


def _body(shape: Shape, result: Mapping[str, Any]) -> bytes:
    if shape.payload is None:
        return _dump(to_json(shape, result)) if shape.wire_names else b""
    member = shape.members[shape.payload]
    value = result.get(member.name)
    if value is None:
        return b""
    if member.shape.kind in ("blob", "string"):
        return value if isinstance(value, bytes) else str(value).encode()
    return _dump(to_json(member.shape, value))


def _header(value: Any, time_form: str | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "astimezone"):
        return str(write_time(value, time_form or "rfc822"))
    return str(value)


def _check_members(shape: Shape, value: Mapping[str, Any]) -> None:
    unknown = value.keys() - shape.members.keys()
    missing = [name for name in shape.required if value.get(name) is None]
    if unknown or missing:
        raise KeyError(f"{shape.name}: unknown {sorted(unknown)}, missing {missing}")


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
