"""Bringing invocations to session workflows, on a real Temporal server."""

import asyncio
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import api.sessions
from api.sessions import Sessions
from contracts.errors import AwsError, ErrorType, ServiceError
from contracts.turn import TASK_QUEUE, WORKFLOW, SessionState, TurnAccepted, TurnRequest

_numbers = count()


@workflow.defn(name=WORKFLOW)
class BriefSession:
    """Completes as soon as nothing has come for a few milliseconds, so that updates meet its end.

    An invocation named `stuck` is accepted and never answered; one that runs keeps others out.
    """

    def __init__(self) -> None:
        self._served: list[str] = []
        self._running: str | None = None

    @workflow.run
    async def run(self, state: SessionState) -> list[str]:
        while True:
            seen = len(self._served)
            try:
                await workflow.wait_condition(
                    lambda: len(self._served) > seen,
                    timeout=timedelta(milliseconds=10 + state.grace_s * 1000),
                )
            except TimeoutError:
                return self._served

    @workflow.update
    async def invoke(self, request: TurnRequest) -> TurnAccepted:
        self._served.append(request.invocation_id)
        if request.invocation_id == "stuck":
            await workflow.wait_condition(lambda: False)
        if request.invocation_id == "running":
            self._running = request.invocation_id
        return TurnAccepted(request.invocation_id)

    @invoke.validator
    def _check(self, request: TurnRequest) -> None:
        if self._running is not None:
            raise ApplicationError(
                f"invocation {self._running} is running", type=ErrorType.SESSION_BUSY
            )


@pytest.fixture(scope="module")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shutil.which("temporal", path=str(Path(sys.executable).parent)) or "temporal"
    log = tmp_path_factory.mktemp("temporal") / "log"
    with log.open("w") as sink:
        process = await asyncio.create_subprocess_exec(
            command,
            *("server", "start-dev", "--headless", "--port", str(port)),
            stdout=sink,
            stderr=sink,
        )
        yield f"127.0.0.1:{port}"
        process.terminate()
        await process.wait()
