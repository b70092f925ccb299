"""botocore as the oracle: valid values of its shapes, and its own view of requests and answers."""

# botocore ships no types; this module is where tests meet its inner parts.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import functools
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlsplit

import botocore.session
from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.eventstream import EventStream
from botocore.parsers import EventStreamJSONParser, create_parser
from botocore.serialize import create_serializer
from hypothesis import strategies as st

from api.request import WireRequest, decode_headers, decode_query
from api.serialise import Answer

SERVICES = ("bedrock-agentcore", "bedrock-agentcore-control")

#: Patterns whose least length `from_regex` rarely reaches by itself.
_LONG: dict[str, st.SearchStrategy[str]] = {
    "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,256}": st.uuids().map(str),
    "[a-zA-Z0-9][a-zA-Z0-9-_]*": st.uuids().map(lambda value: f"{value}_"),
    "mem-[a-zA-Z0-9-_]*": st.uuids().map(lambda value: f"mem-{value}"),
}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@functools.cache
def service_model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


OPERATIONS = [
    (service, str(name)) for service in SERVICES for name in service_model(service).operation_names
]


def operation_model(service: str, name: str) -> Any:
    return service_model(service).operation_model(name)


def request_of(service: str, name: str, params: dict[str, Any]) -> WireRequest:
    """The request that botocore sends for these parameters, taken off the wire."""
    serializer: Any = create_serializer("rest-json", include_validation=True)
    described = serializer.serialize_to_request(params, operation_model(service, name))
    prepare_request_dict(described, "http://127.0.0.1:1", {}, "test")
    prepared: Any = create_request_object(described).prepare()
    url = urlsplit(cast("str", prepared.url))
    headers = [(_bytes(key), _bytes(value)) for key, value in prepared.headers.items()]
    return WireRequest(
        method=prepared.method,
        raw_path=url.path,
        query=decode_query(url.query.encode()),
        headers=decode_headers(headers),
        body=_bytes(prepared.body or b""),
    )


def parsed_answer(service: str, name: str, answer: Answer) -> dict[str, Any]:
    """What botocore makes of an answer, its own metadata left out."""
    parser: Any = create_parser("rest-json")
    model = operation_model(service, name)
    described = {
        "status_code": answer.status,
        "headers": HeadersDict(answer.headers),
        "body": b"" if model.has_streaming_output else answer.body,
        "context": {"operation_name": name},
    }
    parsed: dict[str, Any] = parser.parse(described, model.output_shape)
    if answer.status >= 300:
        return parsed
    return {key: value for key, value in parsed.items() if key != "ResponseMetadata"}


@functools.cache
def values(service: str, shape_name: str) -> st.SearchStrategy[Any]:
    """Valid values of a shape, as a caller of boto3 gives them."""
    return value_of(service, service_model(service).shape_for(shape_name))


def value_of(service: str, shape: Any) -> st.SearchStrategy[Any]:
    meta: Mapping[str, Any] = shape.metadata
    low, high = meta.get("min"), meta.get("max")
    match shape.type_name:
        case "structure":
            return (
                _JSON.filter(lambda v: v is not None)
                if shape.is_document_type
                else _structure(service, shape)
            )
        case "list":
            size = max(int(low or 0), min(2, int(high or 2)))
            items = st.deferred(lambda: values(service, shape.member.name))
            return st.lists(items, min_size=int(low or 0), max_size=size)
        case "map":
            keys = st.deferred(lambda: values(service, shape.key.name))
            items = st.deferred(lambda: values(service, shape.value.name))
            size = max(int(low or 0), 1)
            return st.dictionaries(keys, items, min_size=int(low or 0), max_size=size)
        case "string":
            return _string(shape)
        case "integer" | "long":
            bound = 2**31 if shape.type_name == "integer" else 2**63
            return st.integers(
                int(low if low is not None else -bound),
                int(high if high is not None else bound - 1),
            )
        case "float" | "double":
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case "boolean":
            return st.booleans()
        case "blob":
            return st.binary(min_size=int(low or 0), max_size=int(low or 0) + 5)
        case "timestamp":
            moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
            return moments.map(lambda moment: moment.replace(microsecond=0, tzinfo=UTC))
        case _:
            raise AssertionError(shape.type_name)


def _structure(service: str, shape: Any) -> st.SearchStrategy[dict[str, Any]]:
    members = {name: _member(service, member) for name, member in shape.members.items()}
    if shape.metadata.get("union"):
        return st.one_of(*(st.fixed_dictionaries({name: value}) for name, value in members.items()))
    required = set(shape.metadata.get("required", ()))
    return st.fixed_dictionaries(
        {name: value for name, value in members.items() if name in required},
        optional={name: value for name, value in members.items() if name not in required},
    )


def _member(service: str, member: Any) -> st.SearchStrategy[Any]:
    location = member.serialization.get("location")
    if location == "statusCode":
        return st.sampled_from([200, 201, 202])
    if location in ("header", "uri", "querystring") and member.type_name == "string":
        return _string(member, located=location)
    return st.deferred(
        lambda: (
            value_of(service, member)
            if member.type_name != "structure"
            else values(service, member.name)
        )
    )


def _string(shape: Any, located: str | None = None) -> st.SearchStrategy[str]:
    meta: Mapping[str, Any] = shape.metadata
    if shape.enum:
        return st.sampled_from(shape.enum)
    low, high = int(meta.get("min", 1 if located else 0)), meta.get("max")
    pattern = meta.get("pattern")
    if pattern is None:
        plain = (
            string.ascii_letters + string.digits + "-_:/ %é"
            if located != "header"
            else string.ascii_letters
        )
        alphabet = st.sampled_from(plain) if located else st.characters(exclude_categories=["Cs"])
        size = low + 6 if high is None else min(low + 6, int(high))
        return st.text(alphabet, min_size=low, max_size=size)
    if low >= 33 and pattern in _LONG:
        return _LONG[pattern]
    return _matching(pattern, low, None if high is None else int(high), located)


@functools.cache
def _matching(
    pattern: str, low: int, high: int | None, located: str | None
) -> st.SearchStrategy[str]:
    """Strings that match a pattern, of an allowed length."""
    translated = pattern.replace(r"[^\p{C}]", "[a-zé ]").replace("[[", r"[\[")
    alphabet = (
        st.characters(min_codepoint=0x20, max_codepoint=0x7E)
        if located == "header"
        else st.characters(exclude_categories=["Cs", "Cc"])
    )
    matching = st.from_regex(translated, fullmatch=True, alphabet=alphabet)
    return matching.filter(
        lambda text: (
            len(text) >= low and (high is None or len(text) <= high) and text not in (".", "..")
        )
    )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")


class _Socket:
    """What botocore's EventStream reads from: the body of an answer, in pieces of a few bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), 7):
            yield self._data[at : at + 7]

    def close(self) -> None:
        pass


def read_events(service: str, name: str, data: bytes) -> list[dict[str, Any]]:
    """The events of a stream as boto3's caller gets them.

    Raises:
        EventStreamError: the stream holds an exception.
    """
    output = operation_model(service, name).output_shape
    member = output.members[output.event_stream_name]
    return list(EventStream(_Socket(data), member, EventStreamJSONParser(), name))
