"""What a look at a volume finds, whatever its commands put there."""

import os
from pathlib import Path

import pytest

from contracts.turn_files import LISTED_MAX, FileChangeKind, TurnFiles
from environments import agentd_scan
from environments.agentd_scan import Files, TooMuch, scan
from environments.local_volume import LocalVolume
from environments.volume_changes import Checksums
from environments.volume_changes import compare as compare_in


async def compare(volume: Path, before: Files, now: Files, sums: Checksums) -> TurnFiles:
    return await compare_in(LocalVolume(volume, 0, "/mnt/session"), before, now, sums)


async def test_created_changed_and_removed_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("kept", "changed", "removed", "d/moved", "mode"):
        (tmp_path / name).write_text("x")
    before = scan(tmp_path)
    (tmp_path / "changed").write_text("another")
    os.utime(tmp_path / "changed", ns=(0, before["changed"][2]))
    (tmp_path / "removed").unlink()
    (tmp_path / "d" / "moved").rename(tmp_path / "here")
    (tmp_path / "mode").chmod(0o700)
    found = await compare(tmp_path, before, scan(tmp_path), {})
    assert [(each.path, each.change.value) for each in found.files] == [
        ("changed", "changed"),
        ("d/moved", "removed"),
        ("here", "created"),
        ("mode", "changed"),
        ("removed", "removed"),
    ]
    assert (found.created, found.changed, found.removed) == (1, 2, 2)
    changed, removed = found.files[0], found.files[1]
    assert changed.bytes == 7 and changed.modified_at is not None
    assert changed.sha256 == "ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5"
    assert (removed.bytes, removed.modified_at, removed.sha256) == (None, None, None)


def test_links_pipes_hidden_and_installed_files_are_left_out(tmp_path: Path) -> None:
    for path in (".cache/x", "a/.git/x", "node_modules/x", "a/__pycache__/x", "venv/x", "a/seen"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert set(scan(tmp_path)) == {"a/seen"}


async def test_a_link_in_the_place_of_a_file_gives_no_checksum_of_the_host(tmp_path: Path) -> None:
    volume, secret = tmp_path / "v", tmp_path / "secret"
    (volume / "d").mkdir(parents=True)
    secret.mkdir()
    (secret / "f").write_text("s")
    (volume / "d" / "f").write_text("s")
    now = scan(volume)
    (volume / "d" / "f").unlink()
    (volume / "d").rmdir()
    (volume / "d").symlink_to(secret)
    sums: Checksums = {}
    (only,) = (await compare(volume, {}, now, sums)).files
    assert only.sha256 is None and not sums
    assert scan(volume) == {}


async def test_names_that_are_no_text_and_times_that_are_none_are_shown(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff"
    with open(odd, "w") as file:
        file.write("x")
    (only,) = (await compare(tmp_path, {}, scan(tmp_path), {})).files
    assert only.path == "\N{REPLACEMENT CHARACTER}"
    path = os.fsdecode(b"\xff")
    signature = (1, 1, 2**80, 1)
    (only,) = (await compare(tmp_path, {}, {path: signature}, {})).files
    assert only.modified_at is not None and only.modified_at.year == 9998
    assert only.sha256 is None


async def test_all_are_counted_and_some_are_named(tmp_path: Path) -> None:
    now = {f"f{number:05}": (number, 0, 0, 0) for number in range(LISTED_MAX + 5)}
    found = await compare(tmp_path, {}, now, {})
    assert (found.created, len(found.files)) == (LISTED_MAX + 5, LISTED_MAX)
    long = {f"{number:03}{'x' * 4000}": (number, 0, 0, 0) for number in range(100)}
    named = await compare(tmp_path, long, {}, {})
    assert named.removed == 100 and len(named.files) == 256 * 1024 // 4003
    assert {each.change for each in named.files} == {FileChangeKind.REMOVED}


def test_a_large_a_slow_and_a_deep_volume_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "deep"
    (deep / "/".join("d" * (agentd_scan.DEPTH_MAX + 1))).mkdir(parents=True)
    with pytest.raises(TooMuch, match="64 deep"):
        scan(deep)
    times = iter([0.0, 0.0, agentd_scan.LOOK_S + 1, 0.0])
    with pytest.raises(TooMuch, match="takes more than 1 s"):
        scan(deep, clock=lambda: next(times))
    monkeypatch.setattr(agentd_scan, "NAMES_MAX", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(TooMuch, match="more than 3 files and directories"):
        scan(tmp_path)
