"""One running Everloop for all tests, whole again when each begins, and others as tests want them.

A test may kill its processes, but change nothing that stays.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def everloop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data_dir = tmp_path_factory.mktemp("everloop") / "data"
    # No session of a test is as old, unless it is made so.
    running = Stack(data_dir, EVERLOOP_RETENTION_DAYS="7").start()
    yield running
    running.stop()


@pytest.fixture
def stack(everloop: Stack) -> Stack:
    for process in everloop.state()["processes"]:
        everloop.wait_ready(process["name"])
    return everloop


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    started: list[Stack] = []

    def start(**env: str) -> Stack:
        fresh = Stack(tmp_path / f"data{len(started)}", **env)
        started.append(fresh)
        return fresh.start()

    yield start
    for one in started:
        one.stop()
