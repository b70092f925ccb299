"""Real sandboxes and a real store; where bubblewrap cannot run, tests fail with its reason."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from contracts.environment import EnvironmentSpec
from environments.bubblewrap import Bubblewrap
from environments.channel import AgentChannel
from environments.host import SandboxHost
from store import Store, migrate
from tests.environments import engine as engines
from tests.environments.kinds import KINDS, Make, makes
from tests.environments.sandboxes import SPEC


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "store.db")
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    why = engines.missing()
    if why is not None:
        pytest.skip(why)
    own = tmp_path_factory.getbasetemp()
    # Each process of a run has a directory of its own beside those of the others.
    with engines.engine(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) as running:
        yield running


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes providers of each kind that can run here, one kind for a test."""
    async with makes(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Bubblewrap]:
    bubblewrap = Bubblewrap(tmp_path / "data")
    yield bubblewrap
    await bubblewrap.stop_orphans(())


@pytest.fixture
def start(provider: Bubblewrap) -> Callable[..., Awaitable[AgentChannel]]:
    async def start_one(session: str = "a", spec: EnvironmentSpec = SPEC) -> AgentChannel:
        started = await provider.start(session, spec, generation=1)
        return provider.connect(started.reference)

    return start_one


@pytest.fixture
async def sandbox(start: Callable[..., Awaitable[AgentChannel]]) -> AgentChannel:
    return await start()


@pytest.fixture
async def host(store: Store, provider: Bubblewrap, tmp_path: Path) -> AsyncIterator[SandboxHost]:
    owner = SandboxHost(
        store, data_dir=tmp_path / "data", host_id="here", provider=provider, look_s=0.05
    )
    async with owner:
        yield owner
