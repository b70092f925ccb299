"""One running Everloop for all tests that do not hurt it, and fresh ones for those that do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("everloop") / "data").start()
    yield running
    running.stop()


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
