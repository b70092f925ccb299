import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from activities.model import gateway
from contracts.settings import Settings
from store import RingSource, Store, migrate


@pytest.fixture(scope="session")
def warm_gateway() -> None:
    """LiteLLM, imported once for all tests that call a model."""
    asyncio.run(gateway.load())


@pytest.fixture
async def litellm_clients(warm_gateway: None) -> AsyncIterator[None]:
    """Closes the connections that LiteLLM keeps for the test's event loop."""
    yield
    await gateway.close()


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo model as users run it: a process of its own, found through its run file."""
    data_dir = tmp_path_factory.mktemp("data")
    process = subprocess.Popen(
        [sys.executable, "-m", "activities.model.demo", "--port", "0", "--delay-ms", "0"],
        env={**os.environ, "EVERLOOP_DATA_DIR": str(data_dir)},
        stdout=subprocess.DEVNULL,
    )
    found = data_dir / "run" / "demo-model.json"
    deadline = time.monotonic() + 20
    while not found.exists():
        assert process.poll() is None and time.monotonic() < deadline, (
            "the demo model did not start"
        )
        time.sleep(0.02)
    record = json.loads(found.read_text())
    assert record["pid"] == process.pid
    yield f"http://127.0.0.1:{record['port']}/v1"
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="session")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "everloop.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
async def store(_database: Path, tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "everloop.db"
    shutil.copy(_database, path)
    ring = RingSource(tmp_path / "keyring.json", may_create=True)
    opened = await Store.open(f"sqlite:///{path}", ring)
    yield opened
    await opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database_url="sqlite://", data_dir=tmp_path)
