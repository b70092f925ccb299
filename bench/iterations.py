"""What an iteration costs: time, the processor's time, events and bytes of history.

The floor is a bare loop of two activities an iteration.
"""

import asyncio
import statistics
import time
import uuid
from dataclasses import dataclass

from temporalio.client import Client

from bench.bare import QUEUE
from bench.bare_worker import bare_worker
from bench.bed import Bed
from bench.processor import Processor
from bench.report import Figure
from tests.e2e.stack import Stack, new_session, say

#: An iteration may take this many times the bare loop's.
TIME_FACTOR = 1.25
#: A short tool call is done within the workflow task that asks for it: the bare loop has 12.
EVENTS_BUDGET = 7.5
BYTES_BUDGET = 2048


@dataclass(frozen=True)
class Cost:
    """Of one iteration.

    Attributes:
        ms: from the beginning to the end.
        worker_ms: of a processor, in the worker.
        all_ms: of a processor, in all processes that have part in it, Temporal's too.
        events: of history.
        size: of history, in bytes.
    """

    ms: float
    worker_ms: float
    all_ms: float
    events: float
    size: float


#: Tool calls in one turn.
TURNS = (50, 500)


async def measure(bed: Bed) -> list[Figure]:
    """Run both loops in turn, in short turns and in long ones.

    Returns:
        Time, the processor's time, events and bytes of one iteration.
    """
    turns = TURNS[:1] if bed.options.quick else TURNS
    return [figure for count in turns for figure in await _turns_of(bed, count)]


async def _turns_of(bed: Bed, iterations: int) -> list[Figure]:
    stack = bed.stack
    client = await Client.connect(stack.temporal)
    arn = bed.harness(maxIterations=iterations + 1)
    await asyncio.to_thread(stack.invoke, arn, new_session(), say("work 3"))
    ours: list[Cost] = []
    bare: list[Cost] = []
    async with bare_worker(bed.stack.temporal) as bare_pid:
        temporal = stack.process("temporal")["pid"]
        floor = Processor(bare_pid, temporal)
        processor = Processor.of(stack)
        await _bare_run(client, floor, 3)
        for _ in range(bed.options.rounds):
            bare.append(await _bare_run(client, floor, iterations))
            ours.append(await _our_run(stack, client, processor, arn, iterations))
    label = f"iteration, of {iterations}"
    return [
        _figure(f"{label}: time", "ms", ours, bare, "ms", TIME_FACTOR * _median(bare, "ms")),
        _figure(f"{label}: processor, worker", "ms", ours, bare, "worker_ms"),
        _figure(f"{label}: processor, all processes", "ms", ours, bare, "all_ms"),
        _figure(f"{label}: history events", "events", ours, bare, "events", EVENTS_BUDGET),
        _figure(f"{label}: history size", "bytes", ours, bare, "size", BYTES_BUDGET),
    ]


def _figure(
    what: str,
    unit: str,
    ours: list[Cost],
    bare: list[Cost],
    of: str,
    budget: float | None = None,
) -> Figure:
    return Figure(what, unit, _median(ours, of), _median(bare, of), budget)


def _median(costs: list[Cost], of: str) -> float:
    return statistics.median(getattr(cost, of) for cost in costs)


async def _bare_run(client: Client, processor: Processor, iterations: int) -> Cost:
    name = f"bare-{uuid.uuid4()}"
    processor.start()
    start = time.perf_counter()
    await client.execute_workflow("Bare", iterations, id=name, task_queue=QUEUE)
    wall, used = time.perf_counter() - start, processor.used()
    return await cost_of(client, name, iterations, wall, used)


async def _our_run(
    stack: Stack, client: Client, processor: Processor, arn: str, iterations: int
) -> Cost:
    session = new_session()
    processor.start()
    start = time.perf_counter()
    told = await asyncio.to_thread(stack.invoke, arn, session, say(f"work {iterations}"))
    wall, used = time.perf_counter() - start, processor.used()
    if told.stops.count("tool_result") != iterations or told.stop_reason != "end_turn":
        raise RuntimeError(f"the turn ended as {told.stop_reason} after {len(told.stops)} messages")
    account, harness = arn.split(":")[4], arn.split("/")[1]
    workflow_id = f"session:{account}:{harness}:{session}"
    return await cost_of(client, workflow_id, iterations, wall, used)


async def cost_of(
    client: Client,
    workflow_id: str,
    iterations: int,
    wall_s: float,
    used: tuple[float, float] = (0.0, 0.0),
) -> Cost:
    """What each of a workflow's iterations cost, in all runs that continue each other.

    Args:
        client: of the namespace.
        workflow_id: the workflow, at its newest run.
        iterations: how many it has done.
        wall_s: how long they took.
        used: the processor's seconds of all processes and of the worker.
    """
    events = size = 0
    run_id: str | None = None
    while True:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        info = (await handle.describe()).raw_description.workflow_execution_info
        events += info.history_length
        size += info.history_size_bytes
        first = await anext(aiter(handle.fetch_history_events()))
        run_id = first.workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            measured = (wall_s * 1000, used[0] * 1000, used[1] * 1000, events, size)
            return Cost(*(each / iterations for each in measured))
