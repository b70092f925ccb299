"""What other languages are told of a run is what a run takes and gives."""

import dataclasses
import re
from pathlib import Path

from everloop.runs import HarnessOutcome, HarnessRun

PAGE = Path(__file__).parents[2] / "docs" / "embed.md"


def names_of(kind: type[HarnessRun] | type[HarnessOutcome]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_member_is_documented() -> None:
    _, _, section = PAGE.read_text().partition("## From other languages")
    section, _, _ = section.partition("\n## ")
    table = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert table == names_of(HarnessRun) - {"deadline_s"}
    _, example = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    for name in names_of(HarnessOutcome):
        assert f'"{name}":' in example
