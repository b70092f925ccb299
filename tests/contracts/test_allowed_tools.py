"""The `allowedTools` grammar, row by row of the devguide's table."""

import pytest

from contracts.allowed_tools import is_allowed

TOOLS = (
    ("builtin", "shell"),
    ("builtin", "file_operations"),
    ("docs", "get_page"),
    ("docs", "search"),
    ("approve", "approve"),
)


@pytest.mark.wire(
    "allowed.star",
    "allowed.name",
    "allowed.namespace",
    "allowed.member",
    "allowed.inline",
    "allowed.nothing",
)
@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["*"], ["shell", "file_operations", "get_page", "search", "approve"]),
        (["shell"], ["shell"]),
        (["file_*"], ["file_operations"]),
        (["@builtin"], ["shell", "file_operations"]),
        (["@builtin/shell"], ["shell"]),
        (["@docs"], ["get_page", "search"]),
        (["@docs/get_*"], ["get_page"]),
        (["@*/search"], ["search"]),
        (["@approve"], ["approve"]),
        (["approve"], []),
        (["SHELL"], []),
        ([], []),
        (["shell", "@approve"], ["shell", "approve"]),
    ],
)
def test_pattern_selects(patterns: list[str], selected: list[str]) -> None:
    assert [name for space, name in TOOLS if is_allowed(space, name, patterns)] == selected
