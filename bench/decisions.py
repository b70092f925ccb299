"""How many decisions people and programs can take in a second, beside bare updates of workflows."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from temporalio.client import Client

from bench.bare import QUEUE, BareWait
from bench.bare_worker import bare_worker
from bench.bed import Bed
from bench.parked import park
from bench.report import Figure
from everloop.inbox import Inbox
from tests.e2e.stack import APPROVAL

#: Sessions that wait, each for one decision; every one is decided once.
DECISIONS = 100
#: Who decide at the same time.
DECIDERS = 8
#: Seconds that a bare workflow waits; it is terminated long before.
BARE_WAIT_S = 3600


async def measure(bed: Bed) -> list[Figure]:
    """Park sessions, then approve all that waits, several at a time.

    Returns:
        Votes in a second, each counted by its session's workflow when it is answered; the floor is
        updates in a second that bare workflows answer without doing anything.
    """
    arn = bed.harness(tools=[APPROVAL])
    with ThreadPoolExecutor(DECIDERS) as pool:
        list(pool.map(park, [bed] * DECISIONS, [arn] * DECISIONS))
        inbox = Inbox.at(bed.stack.endpoint)
        waiting = list(inbox.list(harness_id=arn.rpartition("/")[2]))
        if len(waiting) != DECISIONS:
            raise RuntimeError(f"{len(waiting)} decisions wait instead of {DECISIONS}")
        began = time.monotonic()
        decided = list(pool.map(inbox.approve, waiting))
        ours = DECISIONS / (time.monotonic() - began)
    if any(each["status"] != "approved" for each in decided):
        raise RuntimeError("a decision was not approved")
    return [Figure("decisions in a second", "1/s", ours, await _bare(bed))]


async def _bare(bed: Bed) -> float:
    """Updates in a second, as many at the same time as there were deciders."""
    client = await Client.connect(bed.stack.temporal)
    names = [f"bare-vote-{uuid.uuid4()}" for _ in range(DECISIONS)]
    turn = asyncio.Semaphore(DECIDERS)

    async def vote(name: str) -> None:
        async with turn:
            # The SDK's own types of updates are not complete.
            handle: Any = client.get_workflow_handle_for(BareWait.run, name)
            await handle.execute_update(BareWait.vote)

    async with bare_worker(bed.stack.temporal):
        for name in names:
            await client.start_workflow("BareWait", BARE_WAIT_S, id=name, task_queue=QUEUE)
        began = time.monotonic()
        await asyncio.gather(*(vote(name) for name in names))
        rate = DECISIONS / (time.monotonic() - began)
        for name in names:
            await client.get_workflow_handle(name).terminate()
    return rate
