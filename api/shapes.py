"""The shapes of a service model, compiled once from its JSON into what the codec reads.

Follows the AWS service-2 format as botocore reads it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]

#: Java's class of control, format, surrogate, private and unassigned characters, which `re` lacks.
_OTHER_CHARACTERS = (
    r"\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\uf8ff"
    r"\ufeff\ufff0-\ufffb\U000e0000-\U0010ffff"
)


@dataclass(eq=False, slots=True)
class Shape:
    """One type of a service model.

    Attributes:
        name: its name in the model.
        kind: `structure`, `list`, `map`, `string`, `integer`, `long`, `float`, `double`, `boolean`,
            `blob`, `timestamp`, or `document` for free JSON.
        members: a structure's members by their name.
        wire_names: the members by the name that they have in a JSON body.
        required: names of a structure's required members.
        item: the shape of a list's items or a map's values.
        key: the shape of a map's keys.
        enum: the allowed values of a string; empty when it is free.
        low: the least length, count or value.
        high: the greatest length, count or value.
        pattern: what a string must match as a whole.
        union: whether exactly one member must be set.
        payload: the member that is the whole HTTP body.
        sensitive: whether its values may not be repeated in errors.
        event_stream: whether its members are the events of a stream.
        http_status: of an error shape, the HTTP status.
    """

    name: str
    kind: str
    members: "dict[str, Member]" = field(default_factory=dict[str, "Member"])
    wire_names: "dict[str, Member]" = field(default_factory=dict[str, "Member"])
    required: tuple[str, ...] = ()
    item: "Shape | None" = None
    key: "Shape | None" = None
    enum: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str | None = None
    union: bool = False
    payload: str | None = None
    sensitive: bool = False
    event_stream: bool = False
    http_status: int | None = None
    timestamp_format: str | None = None
    _matcher: re.Pattern[str] | None = None

    def matches(self, text: str) -> bool:
        """Whether a string matches the pattern as a whole; true without a pattern."""
        if self.pattern is None:
            return True
        if self._matcher is None:
            # A bare [ within a set means itself, but makes `re` warn of a future meaning.
            pattern = self.pattern.replace(r"\p{C}", _OTHER_CHARACTERS).replace("[[", r"[\[")
            self._matcher = re.compile(pattern)
        return self._matcher.fullmatch(text) is not None

    @property
    def items(self) -> "Shape":
        """The shape of a list's items or a map's values."""
        assert self.item is not None
        return self.item


@dataclass(eq=False, slots=True)
class Member:
    """A member of a structure.

    Attributes:
        name: its name for callers of an SDK.
        wire_name: its name on the wire.
        location: `uri`, `querystring`, `header`, `headers`, `statusCode`, or None for the body.
        shape: its type.
        timestamp_format: `iso8601`, `unixTimestamp`, `rfc822`, or None for its location's default.
    """

    name: str
    wire_name: str
    location: str | None
    shape: Shape
    timestamp_format: str | None = None


class ShapeTable:
    """Compiles shapes by name; a shape that refers to itself is compiled once."""

    def __init__(self, raw: Json) -> None:
        """Take the `shapes` object of a service model."""
        self._raw = raw
        self._done: dict[str, Shape] = {}

    def get(self, name: str) -> Shape:
        """The shape of that name."""
        if name in self._done:
            return self._done[name]
        raw: Json = self._raw[name]
        shape = self._done[name] = Shape(
            name=name,
            kind="document" if raw.get("document") else raw["type"],
            required=tuple(raw.get("required", ())),
            enum=tuple(raw.get("enum", ())),
            low=raw.get("min"),
            high=raw.get("max"),
            pattern=raw.get("pattern"),
            union=raw.get("union", False),
            payload=raw.get("payload"),
            sensitive=raw.get("sensitive", False),
            event_stream=raw.get("eventstream", False),
            http_status=raw.get("error", {}).get("httpStatusCode"),
            timestamp_format=raw.get("timestampFormat"),
        )
        if shape.kind == "structure":
            for member_name, reference in raw["members"].items():
                self._add(shape, member_name, reference)
        elif shape.kind == "list":
            shape.item = self.get(raw["member"]["shape"])
        elif shape.kind == "map":
            shape.key = self.get(raw["key"]["shape"])
            shape.item = self.get(raw["value"]["shape"])
        return shape

    def _add(self, shape: Shape, name: str, reference: Json) -> None:
        target = self.get(reference["shape"])
        member = Member(
            name=name,
            wire_name=reference.get("locationName", name),
            location=reference.get("location"),
            shape=target,
            timestamp_format=reference.get("timestampFormat", target.timestamp_format),
        )
        shape.members[name] = member
        if member.location is None:
            shape.wire_names[member.wire_name] = member
