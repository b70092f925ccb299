"""Temporal with a clock that goes as fast as nothing happens."""

import shutil
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment


@pytest.fixture
async def skipping() -> AsyncGenerator[WorkflowEnvironment]:
    beside = Path(sys.executable).parent / "temporal-test-server"
    binary = shutil.which("temporal-test-server") or str(beside)
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary
    ) as environment:
        yield environment


@pytest.fixture
def client(skipping: WorkflowEnvironment) -> Client:
    return skipping.client
