"""The same processes on PostgreSQL: a turn, a killed worker, a stream that is whole."""

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack, new_session, say


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with warnings.catch_warnings():
        # Where it would keep state that we do not share depends on who runs the tests.
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server
    # Not among pytest's own directories, which other runs of pytest lock.
    with tempfile.TemporaryDirectory(prefix="everloop-postgres-") as directory:
        server = get_server(directory)
        server.psql("CREATE DATABASE everloop;")
        socket = server.get_uri().partition("host=")[2]
        yield f"postgresql+asyncpg://postgres@/everloop?host={socket}"
        server.cleanup()


def test_a_turn_survives_its_worker_on_postgresql(
    new_stack: Callable[..., Stack], postgres_url: str, tmp_path: Path
) -> None:
    stack = new_stack(EVERLOOP_DATABASE_URL=postgres_url)
    arn, session = stack.harness(), new_session()
    work = say("Run the shell command `echo x >> effects.txt; sleep 2; cat effects.txt`")
    stream = stack.open(arn, session, work, key="on-postgres")
    next(stream)
    stack.kill("worker")
    list(stream)
    told = stack.invoke(arn, session, work, key="on-postgres")
    assert told.stop_reason == "end_turn"
    assert json.loads(told.results[0])["stdout"] == "x\n"
    assert not (stack.data_dir / "everloop.db").exists()
