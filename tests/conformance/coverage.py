"""Whether manifest and tests cover each other: every row a test, every marker a row."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.conformance.manifest import PROVEN, ROOT, Row

MARKER = "wire"
TESTS = ROOT / "tests"
#: Seconds for a Python to collect every test; it takes four.
COLLECT_S = 120

#: Ids of tests by the row that they prove.
Marks = Mapping[str, list[str]]

MARKS = pytest.StashKey[dict[str, list[str]]]()


def marks_of(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """The ids of the tests that carry each row's marker."""
    found: dict[str, list[str]] = {}
    for item in items:
        for mark in item.iter_markers(MARKER):
            for row in mark.args:
                found.setdefault(row, []).append(item.nodeid)
    return found


def unknown(marks: Marks, rows: Mapping[str, Row]) -> list[str]:
    """What is wrong with the markers: each names a row that there is."""
    return [
        f"{tests[0]} is marked for row {row!r}, which the manifest does not have"
        for row, tests in sorted(marks.items())
        if row not in rows
    ]


def unproven(marks: Marks, rows: Mapping[str, Row]) -> list[str]:
    """What is wrong with the rows: each that promises something has a test."""
    return [
        f"no test is marked for row {row.id}, which is {row.status}: {row.says}"
        for row in rows.values()
        if row.status in PROVEN and not marks.get(row.id)
    ]


def is_whole(config: pytest.Config) -> bool:
    """Whether this run collects every test there is."""
    asked = [config.invocation_params.dir / arg for arg in config.args]
    picked = any("::" in arg for arg in config.args) or config.getoption("lf", False)
    return not picked and any(TESTS.is_relative_to(path.resolve()) for path in asked)


def collect_all(into: Path) -> dict[str, list[str]]:
    """The marks of the whole suite, collected by a Python of its own.

    Args:
        into: a file to write them to.

    Raises:
        AssertionError: the suite cannot be collected.
    """
    script = (
        "import json, pathlib, sys, pytest\n"
        "from tests.conformance.coverage import marks_of\n"
        "class Plugin:\n"
        "    @pytest.hookimpl(tryfirst=True)\n"
        "    def pytest_collection_modifyitems(self, items):\n"
        "        pathlib.Path(sys.argv[1]).write_text(json.dumps(marks_of(items)))\n"
        "sys.exit(pytest.main(['--collect-only', '-q', '-p', 'no:xdist', 'tests'], [Plugin()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(into)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COLLECT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(into.read_text())
