"""docs/wire.md: the manifest as a page. `python -m tests.conformance.table` writes it."""

from pathlib import Path

from api.handlers import HANDLERS
from tests.conformance.manifest import ROOT, SOURCES, Chapter, Row, Status, chapters
from tests.conformance.wire_parts import others

PAGE = ROOT / "docs" / "wire.md"

_HEAD = """\
# The wire, behaviour by behaviour

<!-- Written by `make wire` from tests/conformance/rows; edit those. -->

Each row is a behaviour of the harness operations on AWS's wire. `served`: Everloop does the same.
`differs`: it does something else on purpose. `refused`: it answers a ValidationException that names
the member. `not served`: the operation answers HTTP 501, or the event is never sent. What differs
is explained in [differences.md](differences.md).

Every row that is served, differs or is refused has a test that carries its id; `make test` fails
when one has none. Operations, members of requests, events and stop reasons are taken from
botocore's service models, so that none is left out.
"""

_OTHERS = """\
## Operations outside the harness family

None of these is served; each answers `NotImplementedException`, HTTP 501.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, _sources(), _counts()]
    parts += [_table(chapter) for chapter in chapters()]
    parts += [_OTHERS, _other_operations()]
    return "\n".join(parts)


def write(path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(page(), encoding="utf-8")


def _sources() -> str:
    lines = ["| Source | is |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {what} |" for name, what in SOURCES.items()), ""])


def _counts() -> str:
    every = [row.status for chapter in chapters() for row in chapter.rows]
    told = ", ".join(f"{every.count(status)} {status}" for status in Status)
    return f"{len(every)} rows: {told}.\n"


def _table(chapter: Chapter) -> str:
    lines = [f"## {chapter.title}", "", "| Row | On AWS | Source | Everloop |", "|---|---|---|---|"]
    return "\n".join([*lines, *(_line(row) for row in chapter.rows), ""])


def _line(row: Row) -> str:
    says = row.says.replace("|", "\\|")
    status = row.status.value
    if row.see is not None:
        status = f"{status}: {row.see.partition(' / ')[2]}"
    return f"| `{row.id}` | {says} | {', '.join(row.source)} | {status} |"


def _other_operations() -> str:
    lines: list[str] = []
    for service in sorted({service for service, _ in others()}):
        names = [name for s, name in others() if s == service and (s, name) not in HANDLERS]
        lines += [f"### {service}", "", "| Operation | Everloop |", "|---|---|"]
        lines += [f"| {name} | not served |" for name in sorted(names)]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write()
