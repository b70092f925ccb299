"""Which calls a snapshot is made before, and what rules are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from activities.tools.schemas import FILE_OPERATIONS, SHELL
from contracts.extensions import HarnessExtensions
from contracts.snapshot_rules import SnapshotRules

RULES = {
    "before": [
        {
            "tools": ["shell"],
            "name": "before removing",
            "when": [{"path": "/command", "operator": "matches", "value": r"\brm\b"}],
        },
        {"tools": ["@builtin/file_*"]},
    ],
    "keep": 2,
}


def rules() -> SnapshotRules:
    read = HarnessExtensions.model_validate({"snapshots": RULES}).snapshots
    assert read is not None
    return read


def test_the_first_rule_that_selects_names_the_snapshot() -> None:
    found = rules().selecting(SHELL, {"command": "rm -r d"})
    assert found is not None and found.name == "before removing"
    assert rules().selecting(SHELL, {"command": "ls"}) is None
    found = rules().selecting(FILE_OPERATIONS, {"command": "create"})
    assert found is not None and found.name is None


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"before": []}, "before"),
    ({"before": [{"tools": []}]}, "tools"),
    ({"keep": 0}, "keep"),
    ({"keep": 17}, "keep"),
    ({"after": []}, "after"),
    ({"before": [{"tools": ["*"], "when": [{"path": "x"}]}]}, "when"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_rules_that_are_none_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HarnessExtensions.model_validate({"snapshots": {**RULES, **change}})


def test_four_are_kept_when_no_number_is_given() -> None:
    assert SnapshotRules.model_validate({"before": RULES["before"]}).keep == 4
