"""The manifest: one row for each behaviour of AWS's wire, and what this server does about it.

`rows/*.yaml` hold the rows, a file for each chapter. A row has

- `says`: the behaviour, in one sentence;
- `of`: the parts of botocore's service models that it is about: an operation or a shape, with
  members of its input, members, or values of its enumeration;
- `source`: where the behaviour is known from;
- `status`: see `Status`;
- `see`: the row of docs/differences.md that says what is different, as `Chapter / Subject`.

Tests prove rows with `@pytest.mark.wire("row", ...)`.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).parents[2]
DIFFERENCES = ROOT / "docs" / "differences.md"
ROWS = Path(__file__).parent / "rows"

#: Where a behaviour is known from, and what docs/wire.md says of it.
SOURCES = {
    "model": "botocore's service model",
    "devguide": "AWS's developer guide",
    "announcement": "AWS's announcement and quickstart",
    "clients": "code of AWS's SDKs, CLI and exported agents",
    "observed": "seen of the live service by third parties",
    "decided": "AWS is silent",
}


class Status(StrEnum):
    """What this server does about a behaviour."""

    #: It does the same.
    SERVED = "served"
    #: It does something else, on purpose.
    DIFFERS = "differs"
    #: It says that it does not, by the member's name.
    REFUSED = "refused"
    #: There is nothing to ask for: the operation answers 501, or the event is never sent.
    NOT_SERVED = "not served"


#: What needs a test that proves it.
PROVEN = frozenset({Status.SERVED, Status.DIFFERS, Status.REFUSED})
#: What needs a row of docs/differences.md.
EXPLAINED = frozenset({Status.DIFFERS, Status.REFUSED})


@dataclass(frozen=True)
class Row:
    """One behaviour."""

    id: str
    says: str
    of: dict[str, tuple[str, ...]]
    source: tuple[str, ...]
    status: Status
    see: str | None


@dataclass(frozen=True)
class Chapter:
    """The rows of one file."""

    title: str
    rows: tuple[Row, ...]


@cache
def chapters() -> tuple[Chapter, ...]:
    """The whole manifest, in the order of its files' names."""
    return tuple(_chapter(path) for path in sorted(ROWS.glob("*.yaml")))


@cache
def rows() -> dict[str, Row]:
    """Every row by its id.

    Raises:
        ValueError: two rows have the same id.
    """
    found: dict[str, Row] = {}
    for row in (row for chapter in chapters() for row in chapter.rows):
        if row.id in found:
            raise ValueError(f"{row.id} stands twice in the manifest")
        found[row.id] = row
    return found


class _Strict(yaml.SafeLoader):
    """YAML in which a key stands once: a merge may leave a row twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            ValueError: a key stands twice.
        """
        keys = [key.value for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"{node.start_mark}: {', '.join(sorted(twice))} stands twice")
        return super().construct_mapping(node, deep)


def _chapter(path: Path) -> Chapter:
    with path.open(encoding="utf-8") as file:
        written = cast(dict[str, Any], yaml.load(file, _Strict))
    return Chapter(written["title"], tuple(_row(id, row) for id, row in written["rows"].items()))


def _row(id: str, written: dict[str, Any]) -> Row:
    known = {"says", "of", "source", "status", "see"}
    if not {"says", "source", "status"} <= written.keys() <= known:
        raise ValueError(f"row {id}: has {', '.join(written)}")
    of = cast(dict[str, list[str] | None], written.get("of") or {})
    return Row(
        id=id,
        says=" ".join(str(written["says"]).split()),
        of={name: tuple(parts or ()) for name, parts in of.items()},
        source=tuple(cast(str, written["source"]).split(", ")),
        status=Status(written["status"]),
        see=written.get("see"),
    )
