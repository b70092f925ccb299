"""A sandbox host dies in the midst of a call; another with its volumes goes on with the turn."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.people import own
from tests.e2e.stack import Stack, new_session, say, wait_until


class Host:
    """A sandbox host with a data directory of its own, as on a machine of its own."""

    def __init__(self, stack: Stack, name: str, volumes: Path) -> None:
        self.data_dir = stack.data_dir.with_name(name)
        self._ready = self.data_dir / "run" / "sandbox-host.json"
        self._env = {
            **os.environ,
            "EVERLOOP_HOST_ID": name,
            "EVERLOOP_DATA_DIR": str(self.data_dir),
            "EVERLOOP_VOLUMES_DIR": str(volumes),
            "EVERLOOP_DATABASE_URL": stack.database_url,
            "EVERLOOP_TEMPORAL_ADDRESS": stack.temporal,
            "EVERLOOP_SHUTDOWN_S": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Host":
        self._ready.unlink(missing_ok=True)
        self.data_dir.mkdir(exist_ok=True)
        with (self.data_dir / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "sandbox-host"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._ready.exists, within_s=60, what="the sandbox host did not start")
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def sandboxes(self) -> list[int]:
        """The first processes of its sandboxes that run."""
        found = [json.loads(p.read_text()) for p in self.data_dir.glob("run/sandboxes/*/*/info")]
        pids = [each["child-pid"] for each in found]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def made() -> Iterator[list[Host]]:
    hosts: list[Host] = []
    yield hosts
    for host in hosts:
        host.kill()
        for pid in host.sandboxes():
            os.kill(pid, 9)


def test_a_turn_goes_on_with_another_host_and_its_files(
    new_stack: Callable[..., Stack], tmp_path: Path, made: list[Host]
) -> None:
    stack = new_stack()
    volumes = tmp_path / "shared"
    volumes.mkdir()
    # Of hosts that are used as little, a session gets the first by name.
    made += [Host(stack, name, volumes).start() for name in ("a-first", "b-second")]
    first = made[0]
    arn, session = stack.harness(), new_session()
    work = say(
        "Run the shell command `echo once >> effects; sleep 120; echo late >> effects`. "
        "Run the shell command `cat effects`. Run the shell command `cat effects`."
    )
    with ThreadPoolExecutor() as threads:
        told = threads.submit(stack.follow, arn, session, work, key="take-over")
        wait_until(lambda: list(volumes.glob("*/effects")), what="the command did not start")
        first.kill()
        assert len(first.sandboxes()) == 1, "what it ran is left alone"
        finished = told.result()
    assert finished.stop_reason == "end_turn"
    lost, *others = [json.loads(result) for result in finished.results]
    assert (lost["exit_code"], lost["ended"]) == (None, "lost")
    assert "was not run again. Files are kept; processes" in lost["note"]
    place = f"harnesses/{arn.rpartition('/')[2]}/sessions/{session}/invocations/take-over/files"
    listed = own(stack, "GET", place)
    assert [(each["path"], each["change"]) for each in listed["entries"]] == [
        ("effects", "created")
    ]
    assert (listed["state"], "incomplete" in listed) == ("complete", False)
    assert others == [{"stdout": "once\n", "stderr": "", "exit_code": 0}] * 2

    first.start()
    assert first.sandboxes() == [], "it ends what another host has taken over"
    again = stack.invoke(arn, session, say("Run the shell command `cat effects`"))
    assert json.loads(again.results[0])["stdout"] == "once\n"
