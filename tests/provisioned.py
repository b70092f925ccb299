"""Provisioning for tests: a real Temporal, a worker that only provisions, clients that wait."""

import asyncio
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.provisioning import ProvisioningActivities
from contracts.provisioning import Operation
from contracts.turn import TASK_QUEUE
from store import Store
from workflows.provisioning import Provisioning

#: Seconds that anything may take on a slow machine.
PATIENCE_S = 30.0
POLL_S = 0.01


def unused_port() -> int:
    """A port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def temporal_server(log: Path, *flags: str, port: int = 0) -> Generator[str]:
    """A Temporal dev server, on that port or a free one; its address."""
    port = port or unused_port()
    command = shutil.which("temporal", path=str(Path(sys.executable).parent)) or "temporal"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [command, "server", "start-dev", "--headless", "--port", str(port), *flags],
            stdout=sink,
            stderr=sink,
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


async def connect(address: str, namespace: str = "default") -> Client:
    """A client of a server that may still be starting."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await Client.connect(address, namespace=namespace)
        except RuntimeError:
            assert time.monotonic() < deadline, "the Temporal dev server did not start"
            await asyncio.sleep(0.05)


async def add_namespace(address: str, namespace: str) -> None:
    """A namespace of its own, so that tests share a server and no task queue."""
    client = await connect(address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=namespace, workflow_execution_retention_period=Duration(seconds=86400)
        )
    )


def provisioning_worker(client: Client, store: Store) -> Worker:
    """A worker that does nothing but provision."""
    work = ProvisioningActivities(store)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Provisioning],
        activities=[work.settle, work.find_sessions, work.end_session, work.finish_delete],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


@contextmanager
def provisioning(address: str, namespace: str, database_url: str) -> Generator[None]:
    """A provisioning worker in a thread of its own."""
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        await add_namespace(address, namespace)
        client = await connect(address, namespace)
        store = await Store.open(database_url)
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(told.set))
        async with provisioning_worker(client, store):
            started.set()
            await told.wait()
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(PATIENCE_S), "the provisioning worker did not start"
    try:
        yield
    finally:
        stop[0]()
        thread.join(PATIENCE_S)


async def settle(store: Store, operation: Operation | None) -> None:
    """Play the workflow of a change of which no session has anything left."""
    if operation is None:
        return
    settled = await ProvisioningActivities(store).settle(operation)
    if settled.ends_sessions:
        await store.provisioning.finish_delete(operation)


def settling(control: Any) -> Any:
    """Have a client of the control plane wait, after each change, until it has settled.

    What the change answered is left as it is.
    """

    def harness(parsed: dict[str, Any], **_: Any) -> None:
        if "harness" in parsed:
            wait_settled(control, parsed["harness"]["harnessId"])

    def endpoint(parsed: dict[str, Any], **_: Any) -> None:
        if "endpoint" in parsed:
            found = parsed["endpoint"]
            wait_settled(control, found["harnessId"], found["endpointName"])

    events = control.meta.events
    for verb in ("Create", "Update", "Delete"):
        events.register(f"after-call.bedrock-agentcore-control.{verb}Harness", harness)
        events.register(f"after-call.bedrock-agentcore-control.{verb}HarnessEndpoint", endpoint)
    return control


def wait_settled(control: Any, harness_id: str, endpoint: str | None = None) -> dict[str, Any]:
    """The harness or endpoint once no change of it is under way; empty when it is gone."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if endpoint is None:
                found = control.get_harness(harnessId=harness_id)["harness"]
            else:
                which = {"harnessId": harness_id, "endpointName": endpoint}
                found = control.get_harness_endpoint(**which)["endpoint"]
        except control.exceptions.ResourceNotFoundException:
            return {}
        if found["status"] not in ("CREATING", "UPDATING", "DELETING"):
            return found
        assert time.monotonic() < deadline, f"{harness_id} stayed {found['status']}"
        time.sleep(POLL_S)
