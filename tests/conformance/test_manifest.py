"""The wire manifest: complete, proven, explained, and published as it is."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.handlers import HANDLERS
from tests.conformance.coverage import MARKS, Marks, collect_all, is_whole, unknown, unproven
from tests.conformance.manifest import (
    DIFFERENCES,
    EXPLAINED,
    PROVEN,
    ROOT,
    SOURCES,
    Row,
    Status,
    chapters,
    rows,
)
from tests.conformance.table import PAGE, page
from tests.conformance.wire_parts import family, needed, others, parts_of


@pytest.fixture
def marks(request: pytest.FixtureRequest, tmp_path: Path) -> Marks:
    """The marks of the whole suite, also when only a part of it runs."""
    config: pytest.Config = request.config
    return config.stash[MARKS] if is_whole(config) else collect_all(tmp_path / "marks.json")


def test_every_row_has_a_test_and_every_marker_a_row(marks: Marks) -> None:
    assert unproven(marks, rows()) + unknown(marks, rows()) == []


@pytest.mark.parametrize("status", [s for s in Status if s in PROVEN])
def test_a_row_without_a_test_is_found(status: Status) -> None:
    row = Row("a.row", "It is so.", {}, ("model",), status, None)
    assert unproven({"another": ["test"]}, {row.id: row}) == [
        f"no test is marked for row a.row, which is {status}: It is so."
    ]
    assert unproven({"a.row": ["test"]}, {row.id: row}) == []


def test_a_marker_without_a_row_is_found() -> None:
    assert unknown({"no.row": ["tests/test_a.py::test_b"]}, rows()) == [
        "tests/test_a.py::test_b is marked for row 'no.row', which the manifest does not have"
    ]


def test_a_test_of_an_unknown_row_is_not_collected(tmp_path: Path) -> None:
    wrong = tmp_path / "test_wrong.py"
    wrong.write_text('import pytest\n@pytest.mark.wire("no.row")\ndef test_it(): pass\n')
    options = ["-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--collect-only"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(wrong)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert "marked for row 'no.row'" in done.stderr


def test_rows_name_what_the_service_models_have() -> None:
    for row in rows().values():
        for name, parts in row.of.items():
            known = parts_of(name)
            assert known is not None, f"{row.id}: neither service model has {name}"
            assert set(parts) <= known, f"{row.id}: {name} has only {', '.join(sorted(known))}"


def test_every_part_of_the_harness_family_has_a_row() -> None:
    named = {(name, part) for row in rows().values() for name in row.of for part in row.of[name]}
    named |= {(name, "") for row in rows().values() for name in row.of}
    missing = [
        f"{name} {part}" for name, part in needed(set(HANDLERS)) if (name, part) not in named
    ]
    assert missing == []


def test_operations_have_the_status_that_their_handlers_give_them() -> None:
    for operation in family():
        told = {row.status for row in rows().values() if operation[1] in row.of}
        assert (operation not in HANDLERS) == (told == {Status.NOT_SERVED}), operation[1]
    served = [name for service, name in others() if (service, name) in HANDLERS]
    assert served == [], "write rows for it and add it to the family"


def test_sources_are_those_that_the_page_explains() -> None:
    for row in rows().values():
        assert set(row.source) <= SOURCES.keys(), row.id
        assert ("decided" in row.source) <= (row.status in EXPLAINED or row.see is None), row.id


def explained() -> Iterator[str]:
    """The rows of docs/differences.md, as `Chapter / Subject`."""
    chapter = ""
    for line in DIFFERENCES.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            chapter = line.removeprefix("## ")
        elif subject := re.match(r"\| (.+?) \| ", line):
            yield f"{chapter} / {subject[1]}"


def test_what_differs_is_explained() -> None:
    known = set(explained())
    for row in rows().values():
        if row.status in EXPLAINED or row.see is not None:
            assert row.see in known, f"{row.id}: docs/differences.md has no row {row.see}"


def test_the_published_page_is_the_manifest() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make wire`"
    assert sum(len(chapter.rows) for chapter in chapters()) == len(rows())
