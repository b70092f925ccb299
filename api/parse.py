"""From an HTTP request to an operation's parameters, driven by the input shape (AWS restJson1).

What cannot be read at all ends the request; what has the wrong type is noted as a fault and stands
as `INVALID` in its place, so that validation can go on and name every fault at once.
"""

from typing import Any

from api.body import load, read_structure, read_value
from api.request import WireRequest
from api.scalars import boolean, decimal_number, read_time, whole_number
from api.shapes import Member, Shape
from contracts.faults import INVALID, Faults

#: Parameters of a presigned URL belong to the signature, not to the operation.
SIGNATURE_PREFIX = "X-Amz-"

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
        parsed = read_structure(shape, load(body or b"{}"), "", faults)
        return {} if parsed is INVALID else parsed
    member = shape.members[shape.payload]
    if member.shape.kind in ("blob", "string"):
        return {member.name: body if member.shape.kind == "blob" else body.decode()}
    if not body:
        return {}
    return {member.name: read_value(member.shape, load(body), member.name, faults)}
