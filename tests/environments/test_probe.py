import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import EnvironmentUnavailable
from environments.bubblewrap import Bubblewrap
from environments.bubblewrap_probe import explain
from tests.environments.sandboxes import SPEC


async def test_without_bubblewrap_nothing_runs_and_the_message_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentUnavailable, match="apt-get install bubblewrap"):
        await Bubblewrap(tmp_path / "data").start("s", SPEC, generation=1)
    assert not (tmp_path / "data").exists()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Where the sandbox's own user can go, too, as which the probe may run."""
    with tempfile.TemporaryDirectory(prefix="everloop-probe-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


async def test_a_bubblewrap_that_fails_is_probed_once_and_its_words_are_told(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = open_directory / "bwrap"
    tried = open_directory / "tried"
    fake.write_text(f"#!/bin/sh\necho x >> {tried}\necho no permission >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    provider = Bubblewrap(tmp_path / "data")
    for _ in range(2):
        with pytest.raises(EnvironmentUnavailable, match="no permission"):
            await provider.start("s", SPEC, generation=1)
    assert tried.read_text() == "x\n"
    assert not (tmp_path / "data" / "volumes").exists()


@pytest.mark.parametrize(
    ("complaint", "fix"),
    [
        ("bwrap: Unknown option --disable-userns", "bubblewrap 0.8 or newer"),
        ("bwrap: execvp python3: No such file or directory", "apt-get install python3"),
    ],
)
def test_known_complaints_come_with_their_fix(complaint: str, fix: str) -> None:
    assert complaint in explain(complaint) and fix in explain(complaint)


async def test_a_mount_elsewhere_is_refused(provider: Bubblewrap) -> None:
    for mount in ("/mnt/..", "/mnt/a/b", "/usr", "/mnt/", f"/mnt/{'n' * 196}"):
        with pytest.raises(EnvironmentUnavailable, match="must be /mnt/<name>"):
            await provider.start("s", type(SPEC)(mount=mount), generation=1)
