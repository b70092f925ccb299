"""What a process beside a session's volume says of it is what a look from here finds."""

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

import pytest

from environments import agentd_scan
from environments.agentd_scan import TooMuch
from environments.bubblewrap_profile import AGENTD_DIR
from environments.channel import Streams
from environments.kubernetes_api import ClusterApi
from environments.kubernetes_files import ClusterVolume
from tests.environments.test_hostile_pod import OnePod

HERE = str(Path(agentd_scan.__file__).parent.parent)


class Processes:
    """Runs what is for a pod on this machine."""

    def __init__(self) -> None:
        self.started: list[asyncio.subprocess.Process] = []

    async def exec(self, pod: str, command: tuple[str, ...]) -> Streams:
        _, *words = (word.replace(AGENTD_DIR, HERE) for word in command)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self.started.append(process)
        assert process.stdin and process.stdout
        return process.stdout, process.stdin


async def test_a_look_through_a_process_finds_the_same(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "d").mkdir(parents=True)
    for name in (b"a", b"d/\xc3\xa9", b"d/\xff", b'd/"\n'):
        with open(os.fsencode(volume) + b"/" + name, "wb") as file:
            file.write(name)
    (volume / "out").symlink_to("/etc/passwd")
    processes = Processes()
    where = ClusterVolume(
        cast(ClusterApi, processes),
        OnePod(str(volume)),
        claim="c",
        user=os.geteuid(),
        mount="/mnt/session",
        archives=tmp_path / "archives",
    )
    found = await where.scan()
    assert found == agentd_scan.scan(volume) and len(found) == 4
    asked = [*found.items(), ("gone", (1, 1, 1, 1))]
    digests = await where.checksums(asked)
    assert digests == agentd_scan.checksums(volume, asked)
    assert digests.count(None) == 1
    deep = volume / "/".join("x" * (agentd_scan.DEPTH_MAX + 1))
    deep.mkdir(parents=True)
    with pytest.raises(TooMuch, match="64 deep"):
        await where.scan()
    for process in processes.started:
        await process.wait()
