import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from store import RingSource, Store, migrate
from tests.store.admin import administer
from tests.store.play import Play

_numbers = count()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "everloop.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL whose database `template` has the schema."""
    runtime = tmp_path_factory.mktemp("runtime")
    runtime.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        from pgserver.postgres_server import get_server
    # Started by root, the server runs as a user of its own, whom another run of pytest that starts
    # meanwhile would lock out of the directory that all runs share.
    with tempfile.TemporaryDirectory(prefix="everloop-postgres-") as directory:
        server = get_server(directory)
        # A test database need not outlive a power cut.
        server.psql("ALTER SYSTEM SET fsync = off;")
        server.psql("SELECT pg_reload_conf();")
        server.psql("CREATE DATABASE template;")
        socket = server.get_uri().partition("host=")[2]
        migrate(_postgres_url(socket, "template"))
        yield socket
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database with the schema, a new one for every test."""
    if request.param == "sqlite":
        path = tmp_path / "everloop.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    return await _new_database(request.getfixturevalue("postgres_socket"), "template")


@pytest.fixture
async def empty_postgres(postgres_socket: str) -> str:
    """A database without the schema."""
    return await _new_database(postgres_socket, "template0")


@pytest.fixture
def ring(tmp_path: Path) -> RingSource:
    """A key ring in a file that is made on first use."""
    return RingSource(tmp_path / "ring" / "keyring.json", may_create=True)


@pytest.fixture
async def store(url: str, ring: RingSource) -> AsyncIterator[Store]:
    opened = await Store.open(url, ring)
    yield opened
    await opened.close()


@pytest.fixture
async def play(store: Store) -> Play:
    """A session that is about to have its first invocation."""
    return await Play.begin(store)


async def _new_database(socket: str, template: str) -> str:
    name = f"test_{next(_numbers)}"
    await administer(
        _postgres_url(socket, "postgres"), f"CREATE DATABASE {name} TEMPLATE {template}"
    )
    return _postgres_url(socket, name)


def _postgres_url(socket: str, database: str) -> str:
    return f"postgresql+asyncpg://postgres@/{database}?host={socket}"
