"""A real API process over a real database, and boto3 pointed at it."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config

from store import migrate
from tests.provisioned import provisioning, settling, temporal_server

ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/agent"


@dataclass(frozen=True)
class ApiProcess:
    """A running `python -m api`."""

    process: subprocess.Popen[str]
    data_dir: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> tuple[int, str, str]:
        """End it as a supervisor does: exit status, stdout, stderr."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def start_api(data_dir: Path, **variables: str) -> ApiProcess:
    """Start the API over a new database, on a free port."""
    migrate(f"sqlite:///{data_dir / 'everloop.db'}")
    environment = {
        **os.environ,
        "EVERLOOP_DATA_DIR": str(data_dir),
        "EVERLOOP_API_PORT": "0",
        "EVERLOOP_ACCOUNT": ACCOUNT,
        **variables,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    record = data_dir / "run" / "api.json"
    deadline = time.monotonic() + 30
    while not record.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the API did not start: {process.communicate()}")
        time.sleep(0.02)
    written = json.loads(record.read_text())
    assert written["pid"] == process.pid
    return ApiProcess(process, data_dir, written["port"])


def client(
    service: str, url: str, key: tuple[str, str] = ("any", "any"), token: str | None = None
) -> Any:
    """A boto3 client, used as against AWS."""
    make = cast("Any", boto3).client
    return make(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60),
    )


@contextmanager
def provisioned_api(data_dir: Path, temporal: str, **variables: str) -> Generator[ApiProcess]:
    """The API, with a worker that moves harnesses and endpoints on and does nothing else."""
    namespace = f"test-{uuid.uuid4()}"
    running = start_api(
        data_dir,
        EVERLOOP_TEMPORAL_ADDRESS=temporal,
        EVERLOOP_TEMPORAL_NAMESPACE=namespace,
        **variables,
    )
    with provisioning(temporal, namespace, f"sqlite:///{data_dir / 'everloop.db'}"):
        yield running


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with temporal_server(tmp_path_factory.mktemp("temporal") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, temporal_address: str) -> Iterator[ApiProcess]:
    with provisioned_api(tmp_path_factory.mktemp("api"), temporal_address) as running:
        yield running
        status, _, _ = running.stop()
        assert status == 0


@pytest.fixture(scope="module")
def control(api: ApiProcess) -> Iterator[Any]:
    """Waits after each change until it has settled."""
    made = settling(client("bedrock-agentcore-control", api.url))
    yield made
    made.close()


@pytest.fixture(scope="module")
def data(api: ApiProcess) -> Iterator[Any]:
    made = client("bedrock-agentcore", api.url)
    yield made
    made.close()
