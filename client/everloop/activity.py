"""Running a harness inside an activity of your own, which waits and heartbeats.

    from everloop.activity import run_harness

    @activity.defn
    async def investigate(order: int) -> str:
        return (await run_harness("my-harness", f"Investigate order {order}")).text

A workflow that can, runs the harness itself: `everloop.workflow` holds no activity slot while
people think.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, Unpack, overload

from temporalio import activity
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from everloop.client import Client
from everloop.options import RunOptions
from everloop.results import HarnessResult

T = TypeVar("T")

#: Seconds between heartbeats, which also bring cancellation. Set the activity's heartbeat time-out
#: to a few of these.
HEARTBEAT_S = 2.0


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: type[T],
    key: str = "",
    **options: Unpack[RunOptions],
) -> HarnessResult[T]: ...


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: Mapping[str, Any],
    key: str = "",
    **options: Unpack[RunOptions],
) -> HarnessResult[dict[str, Any]]: ...


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: None = None,
    key: str = "",
    **options: Unpack[RunOptions],
) -> HarnessResult[None]: ...


async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: Any = None,
    key: str = "",
    **options: Unpack[RunOptions],
) -> HarnessResult[Any]:
    """Run a harness to its end, heartbeating; a retry of the activity comes back to the same run.

    When the activity is cancelled, so is the run. A worker that shuts down leaves it running.

    Args:
        harness: its name, id or ARN, or the ARN of one of its endpoints.
        prompt: what the user says.
        output: the type of a structured result, or a JSON schema of an object.
        key: tells several runs of one activity apart.
        **options: see `RunOptions`.

    Raises:
        HarnessError: the run failed, see its subclasses.
        WorkflowFailureError: it was cancelled or terminated by somebody else.
    """
    info = activity.info()
    name = f"{info.workflow_id}/{info.workflow_run_id}/activity/{info.activity_id}/{key}"
    client = Client(activity.client())
    handle = await client.start(harness, prompt, output=output, id=name, **options)
    async with _heartbeats():
        try:
            return await handle.result()
        except asyncio.CancelledError:
            if await asyncio.shield(_unwanted(client.temporal)):
                await asyncio.shield(handle.cancel())
            raise


async def _unwanted(client: TemporalClient) -> bool:
    """Whether nobody waits for the activity any more; a later attempt of it may, or another worker.

    A workflow that is cancelled may close before its activity hears of it.
    """
    details = activity.cancellation_details()
    if details is None or not details.not_found:
        return details is not None and details.cancel_requested
    info = activity.info()
    if info.workflow_id is None:
        return False
    workflow = client.get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    return (await workflow.describe()).status is not WorkflowExecutionStatus.RUNNING


@asynccontextmanager
async def _heartbeats() -> AsyncGenerator[None]:
    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
