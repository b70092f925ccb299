"""A session's files from outside; the session is hostile."""

import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path

import pytest

from environments import agentd_session_files as session_files
from environments.agentd_beneath import NOT_FOUND, QUOTA, VALIDATION, Beneath, VolumeError
from environments.agentd_session_files import Listing, OpenFile
from environments.file_times import moment

MOUNT = "/mnt/session"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    made = tmp_path / "volume"
    made.mkdir()
    return made


@pytest.fixture
def where(volume: Path) -> Beneath:
    return Beneath(volume, os.geteuid(), MOUNT)


def content(where: Beneath, path: str) -> bytes:
    found = session_files.look(where, path, "")
    assert isinstance(found, OpenFile)
    with open(found.fd, "rb") as file:
        return file.read()


def names(where: Beneath, path: str, after: str = "") -> list[str]:
    found = session_files.look(where, path, after)
    assert isinstance(found, Listing)
    return [each.name for each in found.entries]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("link", "to"),
    [
        ("l", "/etc/shadow"),
        ("l", "../secret"),
        ("l", "d/../../secret"),
        ("l", "/mnt/session/../secret"),
        ("l", "/mnt/sessions/x"),
        ("l", "/proc/self/root/etc/shadow"),
        ("l", "l"),
    ],
)
def test_no_link_leads_out_of_the_volume(volume: Path, where: Beneath, link: str, to: str) -> None:
    (volume / "d").mkdir()
    (volume / link).symlink_to(to)
    for path in (link, f"{MOUNT}/{link}", f"{link}/x", f"d/../{link}"):
        with pytest.raises(VolumeError) as refused:
            session_files.look(where, path, "")
        assert refused.value.error in (VALIDATION, NOT_FOUND)
    with pytest.raises(VolumeError):
        session_files.write(where, f"{link}/x", b"data", sha256=None)


@pytest.mark.parametrize("path", ["..", "../secret", "d/../../secret", "/etc/shadow", "/", "a\0b"])
def test_no_path_leads_out_of_the_volume(volume: Path, where: Beneath, path: str) -> None:
    (volume / "d").mkdir()
    with pytest.raises(VolumeError) as refused:
        session_files.look(where, path, "")
    assert refused.value.error == VALIDATION


def test_links_within_the_volume_are_followed(volume: Path, where: Beneath) -> None:
    (volume / "d" / "e").mkdir(parents=True)
    (volume / "d" / "f").write_text("here")
    (volume / "absolute").symlink_to(f"{MOUNT}/d/f")
    (volume / "directory").symlink_to("d/e")
    (volume / "d" / "e" / "up").symlink_to("../f")
    for path in ("absolute", "directory/../f", "directory/up", f"{MOUNT}/d//e/./up"):
        assert content(where, path) == b"here"


def test_a_directory_that_turns_into_a_link_while_it_is_used_leads_nowhere(
    volume: Path, where: Beneath, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("secret")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (volume / "d").mkdir()
            (volume / "d").rmdir()
            (volume / "d").symlink_to(outside)
            (volume / "d").unlink()

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            with pytest.raises(VolumeError):
                session_files.look(where, "d/f", "")
    finally:
        over.set()
        swapping.join()


def test_what_would_hold_us_up_is_refused(volume: Path, where: Beneath) -> None:
    os.mkfifo(volume / "pipe")
    with pytest.raises(VolumeError, match="neither a file nor a directory"):
        session_files.look(where, "pipe", "")


def test_a_written_file_is_whole_and_the_sessions_own(volume: Path, where: Beneath) -> None:
    written = session_files.write(where, "new/dir/f", b"data", sha256=sha256(b"data"))
    assert (written.name, written.size) == ("f", 4)
    assert (volume / "new/dir/f").read_bytes() == b"data"
    with pytest.raises(VolumeError, match="sha256"):
        session_files.write(where, "new/dir/f", b"other", sha256=sha256(b"data"))
    assert (volume / "new/dir/f").read_bytes() == b"data"
    assert names(where, session_files.UPLOADS) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_root_makes_files_that_belong_to_the_session(volume: Path) -> None:
    session_files.write(Beneath(volume, 1879048200, MOUNT), "d/f", b"", sha256=None)
    for path in ("d", "d/f"):
        assert (volume / path).stat().st_uid == 1879048200


def test_an_upload_in_parts_goes_on_where_it_broke_off(volume: Path, where: Beneath) -> None:
    assert session_files.uploaded(where, "upload-1") == 0
    assert session_files.write_part(where, "upload-1", 0, b"abc") == 3
    assert session_files.write_part(where, "upload-1", 0, b"abc") == 3
    with pytest.raises(VolumeError, match="3 bytes are there"):
        session_files.write_part(where, "upload-1", 4, b"e")
    assert session_files.uploaded(where, "upload-1") == 3
    assert session_files.write_part(where, "upload-1", 3, b"def") == 6
    checksum = sha256(b"abcdef")
    with pytest.raises(VolumeError, match="size"):
        session_files.finish(where, "f", "upload-1", size=7, sha256=None)
    assert not (volume / "f").exists()
    first = session_files.finish(where, "f", "upload-1", size=6, sha256=checksum)
    # The answer may not have come: the same again finds what it did.
    assert session_files.finish(where, "f", "upload-1", size=6, sha256=checksum) == first
    with pytest.raises(VolumeError, match="There is no"):
        session_files.finish(where, "other", "upload-1", size=6, sha256=checksum)


def test_an_upload_that_was_swapped_for_a_link_is_refused(volume: Path, where: Beneath) -> None:
    session_files.write_part(where, "upload-1", 0, b"abc")
    (volume / session_files.UPLOADS / "upload-1").unlink()
    (volume / session_files.UPLOADS / "upload-1").symlink_to(volume.parent / "secret")
    with pytest.raises(VolumeError):
        session_files.write_part(where, "upload-1", 3, b"def")
    assert (volume.parent / "secret").read_text() == "secret"


def test_a_time_that_no_calendar_has_is_listed(volume: Path, where: Beneath) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        for name, seconds in (("late", 2**42), ("early", -(2**42))):
            path = Path(memory) / name
            path.touch()
            os.utime(path, (seconds, seconds))
        # Not every file system has such times; memory has.
        found = session_files.look(Beneath(Path(memory), where.user, "/mnt/session"), ".", "")
    assert isinstance(found, Listing)
    assert [moment(each.modified_at).year for each in found.entries] == [2, 9998]


def test_uploads_and_files_are_bounded(where: Beneath) -> None:
    for number in range(session_files.UPLOADS_MAX):
        session_files.write_part(where, f"upload-{number}", 0, b"")
    with pytest.raises(VolumeError) as refused:
        session_files.write_part(where, "upload-more", 0, b"")
    assert refused.value.error == QUOTA
    with pytest.raises(VolumeError, match="more than"):
        session_files.write_part(where, "upload-1", session_files.FILE_BYTES, b"x")


def test_a_large_directory_is_listed_in_pages(
    volume: Path, where: Beneath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_files, "LISTED_MAX", 2)
    for name in ("a", "b", "c"):
        (volume / name).touch()
    assert names(where, ".") == ["a", "b"]
    assert names(where, ".", "b") == ["c"]


def test_removing_takes_a_link_and_not_what_it_leads_to(volume: Path, where: Beneath) -> None:
    (volume / "d").mkdir()
    (volume / "d" / "f").touch()
    (volume / "l").symlink_to("d")
    session_files.remove(where, "l", recursive=True)
    assert (volume / "d" / "f").exists()
    with pytest.raises(VolumeError, match="not empty"):
        session_files.remove(where, "d", recursive=False)
    session_files.remove(where, "d", recursive=True)
    assert names(where, ".") == []
    with pytest.raises(VolumeError, match="cannot be removed"):
        session_files.remove(where, MOUNT, recursive=True)
