"""`file_operations` as agentd does it, on real files."""

import os
from pathlib import Path
from typing import Any

import pytest

from environments.agentd_files import FILE_BYTES, VIEW_BYTES, operate


def do(mount: Path, command: str, path: str, **arguments: Any) -> str:
    return operate({"command": command, "path": path, **arguments}, str(mount))


@pytest.mark.wire("tools.file-create", "tools.file-view")
def test_create_makes_parents_and_view_numbers_lines(tmp_path: Path) -> None:
    made = do(tmp_path, "create", "a/b/f.txt", file_text="one\ntwo\n")
    assert made == "Successfully created file 'a/b/f.txt'"
    assert (tmp_path / "a/b/f.txt").read_text() == "one\ntwo\n"
    assert do(tmp_path, "view", "a/b/f.txt") == "1: one\n2: two"
    assert do(tmp_path, "view", str(tmp_path / "a/b/f.txt")) == "1: one\n2: two"
    assert do(tmp_path, "view", "a") == "b"


@pytest.mark.wire("tools.file-view")
def test_view_of_a_directory_has_one_name_per_line(tmp_path: Path) -> None:
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    assert do(tmp_path, "view", ".") == ".c\na\nb"


@pytest.mark.wire("tools.file-view")
@pytest.mark.parametrize(
    ("view_range", "shown"),
    [([2, 3], "2: b\n3: c"), ([3, -1], "3: c\n4: d"), ([1, 99], "1: a\n2: b\n3: c\n4: d")],
)
def test_view_of_a_range(tmp_path: Path, view_range: list[int], shown: str) -> None:
    (tmp_path / "f").write_text("a\nb\nc\nd\n")
    assert do(tmp_path, "view", "f", view_range=view_range) == shown


@pytest.mark.parametrize("view_range", [[0, 1], [5, 6], [3, 1], [-1, 2]])
def test_a_range_that_is_none_is_explained(tmp_path: Path, view_range: list[int]) -> None:
    (tmp_path / "f").write_text("a\nb\nc\nd\n")
    assert do(tmp_path, "view", "f", view_range=view_range).startswith(
        "Error: view_range must be [start, end]"
    )


@pytest.mark.wire("tools.file-replace")
def test_str_replace_needs_exactly_one_match(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x y x")
    replace = {"old_str": "y", "new_str": "z"}
    assert do(tmp_path, "str_replace", "f", **replace) == "Successfully replaced text in 'f'"
    assert (tmp_path / "f").read_text() == "x z x"
    assert do(tmp_path, "str_replace", "f", **replace) == "Error: Text not found in file"
    assert (
        do(tmp_path, "str_replace", "f", old_str="x", new_str="")
        == "Error: Text appears 2 times in file. Please be more specific."
    )
    assert do(tmp_path, "str_replace", "f", old_str="", new_str="").startswith("Error: ")


@pytest.mark.wire("tools.file-insert")
def test_insert_counts_from_the_top(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a\nb\n")
    said = do(tmp_path, "insert", "f", insert_line=0, new_str="top")
    assert said == "Successfully inserted text in 'f' at line 1"
    do(tmp_path, "insert", "f", insert_line=2, new_str="mid")
    assert (tmp_path / "f").read_text() == "top\na\nmid\nb\n"
    assert do(tmp_path, "insert", "f", insert_line=9, new_str="x").startswith("Error: ")


def test_a_missing_argument_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a")
    for command, name in (
        ("create", "file_text"),
        ("str_replace", "old_str"),
        ("insert", "new_str"),
    ):
        assert do(tmp_path, command, "f") == f"Error: {name} is required for {command}"
    assert do(tmp_path, "insert", "f", new_str="x") == "Error: insert_line is required for insert"


def test_what_is_not_a_text_file_is_an_error_and_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(FILE_BYTES + 1)
    assert do(tmp_path, "view", "pipe") == "Error: 'pipe' is not a regular file"
    assert do(tmp_path, "view", "/dev/zero") == "Error: '/dev/zero' is not a regular file"
    assert do(tmp_path, "view", "huge").startswith("Error: 'huge' is larger than")
    assert do(tmp_path, "view", "none") == "Error: No such file or directory: 'none'"
    said = do(tmp_path, "str_replace", "binary", old_str="a", new_str="b")
    assert said == "Error: 'binary' is not UTF-8 text"
    assert do(tmp_path, "create", ".", file_text="x").startswith("Error: ")
    assert do(tmp_path, "view", "a\0b").startswith("Error: ")


def test_a_long_view_is_cut_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("".join(f"{'x' * 99}\n" for _ in range(10_000)))
    shown = do(tmp_path, "view", "f")
    assert len(shown) < VIEW_BYTES + 200
    last = shown.splitlines()[-1]
    assert last.startswith("[... ") and "view_range [" in last and last.endswith(", 10000] ...]")
    (tmp_path / "line").write_text("y" * 200_000)
    assert "too long to show" in do(tmp_path, "view", "line")


def test_an_edit_keeps_mode_and_links(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\nold\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "link").symlink_to("script")
    do(tmp_path, "str_replace", "link", old_str="old", new_str="new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "script").read_text() == "#!/bin/sh\nnew\n"
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "script"]
