"""What the tests of the client share."""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

#: Seconds that a condition may take on a slow machine before a test gives up.
PATIENCE_S = 20.0


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], what: str = "the condition") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come"
            time.sleep(0.01)

    return wait


@pytest.fixture
def cli_env(tmp_path: Path) -> dict[str, str]:
    """An environment without any of the developer's AWS settings or keys."""
    dropped = ("AWS_", "EVERLOOP_", "OPENAI_", "GEMINI_", "GOOGLE_", "ANTHROPIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {
        "HOME": str(tmp_path / "home"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_COLOR": "1",
    }


@pytest.fixture
def everloop() -> tuple[str, ...]:
    return (sys.executable, "-m", "everloop.cli")


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    import asyncio

    async def wait(condition: Callable[[], object], what: str = "the condition") -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)

    return wait
