"""One timer for every wait of a run."""

import asyncio
import uuid
from collections import Counter

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

with workflow.unsafe.imports_passed_through():
    from workflows.alarm import Alarm


@workflow.defn
class Waits:
    """Waits for what comes after so many seconds, at most so many; tells how each wait went."""

    @workflow.run
    async def run(self, waits: list[tuple[float, float]]) -> list[tuple[bool, float]]:
        alarm = Alarm()
        told: list[tuple[bool, float]] = []
        for comes_s, at_most_s in waits:
            start_s = workflow.time()
            coming = asyncio.create_task(asyncio.sleep(comes_s))
            came = await alarm.wait(coming.done, at_most_s)
            coming.cancel()
            told.append((came, round(workflow.time() - start_s, -1)))
        return told


async def waits(client: Client, *each: tuple[float, float]) -> tuple[list[object], int]:
    """How waits went, and how many timers they took of their own."""
    name = str(uuid.uuid4())
    runner = SandboxedWorkflowRunner()
    async with Worker(client, task_queue=name, workflows=[Waits], workflow_runner=runner):
        handle = await client.start_workflow(Waits.run, list(each), id=name, task_queue=name)
        told = await handle.result()
        events = Counter(event.event_type for event in (await handle.fetch_history()).events)
    return [tuple(one) for one in told], events[EventType.EVENT_TYPE_TIMER_STARTED] - len(each)


async def test_waits_within_one_another_share_a_timer(client: Client) -> None:
    told, timers = await waits(client, (100, 10000), (100, 20000), (100, 15000))
    assert told == [(True, 100), (True, 100), (True, 100)]
    assert timers == 1


async def test_a_timer_that_rings_early_ends_no_wait(client: Client) -> None:
    told, timers = await waits(client, (100, 1000), (50000, 6000), (2000, 6000))
    assert told == [(True, 100), (False, 6000), (True, 2000)]
    assert timers == 3


async def test_a_wait_that_ends_before_the_timer_rings_is_told_in_time(client: Client) -> None:
    told, timers = await waits(client, (100, 10000), (50000, 500))
    assert told == [(True, 100), (False, 500)]
    assert timers == 2
