"""Putting files back in a volume that cannot be replaced as a whole, cut short at every step."""

import os
from pathlib import Path

import pytest

from environments import agentd_restore

OLD = {"a": "old", "gone/f": "old", "both/f": "old"}
NEW = {"a": "new", "fresh/f": "new", "both/f": "new", "both/g": "new"}


def fill(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def found(directory: Path) -> dict[str, str]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_text() for path in paths}


class Died(BaseException):
    """The process ended."""


@pytest.mark.parametrize("steps", range(9))
def test_whoever_comes_next_goes_on_where_it_was_cut_short(
    tmp_path: Path, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "volume"
    fill(volume, OLD)
    fill(Path(agentd_restore.prepare(str(volume))), NEW)
    (volume / agentd_restore.PLACE / "new" / "fresh").chmod(0o500)
    rename, left = os.rename, steps

    def dies(source: str, target: str) -> None:
        nonlocal left
        if left == 0:
            raise Died
        left -= 1
        rename(source, target)

    monkeypatch.setattr(os, "rename", dies)
    try:
        agentd_restore.put_in_place(str(volume))
        cut_short = False
    except Died:
        cut_short = True
    monkeypatch.undo()
    # Three of the old, one mark, three of the new.
    assert cut_short == (steps < 7)
    agentd_restore.finish(str(volume))
    assert found(volume) == NEW
    mode = (volume / "fresh").stat().st_mode & 0o777
    # A directory that could not be written was opened for its move, and may have stayed so.
    assert mode == 0o500 or (cut_short and mode == 0o700)
    assert not (volume / agentd_restore.PLACE).exists()


def test_what_was_not_whole_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, OLD)
    fill(Path(agentd_restore.prepare(str(tmp_path))), {"a": "half"})
    agentd_restore.finish(str(tmp_path))
    assert found(tmp_path) == OLD
    assert not (tmp_path / agentd_restore.PLACE).exists()


def test_a_link_in_its_place_is_removed_and_not_followed(tmp_path: Path) -> None:
    volume, other = tmp_path / "volume", tmp_path / "other"
    fill(volume, OLD)
    fill(other / "new", NEW)
    (other / "in").touch()
    (volume / agentd_restore.PLACE).symlink_to(other)
    agentd_restore.finish(str(volume))
    assert found(volume) == OLD and (other / "new" / "a").exists()
