"""Many sessions at once: how long all of them take, beside as many bare loops."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Sequence

import httpx
from temporalio.client import Client

from bench.bare import QUEUE
from bench.bare_worker import bare_worker
from bench.bed import Bed
from bench.report import Figure
from tests.e2e.stack import new_session, say

SESSIONS = 100
ITERATIONS = 10
#: All of it may take this many times the bare loops' total.
TIME_FACTOR = 1.15
#: Seconds for the slowest session; a machine under load takes minutes for all.
PATIENCE_S = 1200.0

_SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


async def measure(bed: Bed) -> list[Figure]:
    """Run sessions that are new, then the same again, and bare loops before each.

    Returns:
        The time of all sessions, with the start of an environment for each and without.
    """
    client = await Client.connect(bed.stack.temporal)
    arn = bed.harness(maxIterations=ITERATIONS + 1)
    await _sessions(bed, arn, [new_session()], 1)
    new: list[float] = []
    again: list[float] = []
    bare: list[float] = []
    async with bare_worker(bed.stack.temporal):
        await _bare(client, 1)
        for _ in range(1 if bed.options.quick else bed.options.rounds):
            sessions = [new_session() for _ in range(SESSIONS)]
            bare.append(await _bare(client, SESSIONS))
            new.append(await _sessions(bed, arn, sessions, ITERATIONS))
            bare.append(await _bare(client, SESSIONS))
            again.append(await _sessions(bed, arn, sessions, ITERATIONS))
    floor = statistics.median(bare)
    label = f"{SESSIONS} sessions at once, {ITERATIONS} iterations each"
    return [
        Figure(f"{label}: {which}", "s", statistics.median(taken), floor, TIME_FACTOR * floor)
        for which, taken in (("environments start", new), ("environments run", again))
    ]


async def _bare(client: Client, loops: int) -> float:
    start = time.perf_counter()
    await asyncio.gather(
        *(
            client.execute_workflow("Bare", ITERATIONS, id=f"bare-{uuid.uuid4()}", task_queue=QUEUE)
            for _ in range(loops)
        )
    )
    return time.perf_counter() - start


async def _sessions(bed: Bed, arn: str, sessions: Sequence[str], iterations: int) -> float:
    limits = httpx.Limits(max_connections=SESSIONS)
    async with httpx.AsyncClient(
        base_url=bed.stack.endpoint, limits=limits, timeout=PATIENCE_S
    ) as client:
        start = time.perf_counter()
        streams = await asyncio.gather(
            *(_turn(client, arn, session, iterations) for session in sessions)
        )
        taken = time.perf_counter() - start
    for stream in streams:
        # Frames carry their JSON as it is, so a stop reason can be found in them.
        if stream.count(b'"tool_result"') < iterations or b'"end_turn"' not in stream:
            raise RuntimeError(f"a turn did not end as it must: {stream[-500:]!r}")
    return taken


async def _turn(client: httpx.AsyncClient, arn: str, session: str, iterations: int) -> bytes:
    # Without boto3, whose hundred clients would take more of the machine than what is measured.
    answer = await client.post(
        "/harnesses/invoke",
        params={"harnessArn": arn},
        headers={_SESSION_HEADER: session},
        json={"messages": say(f"work {iterations}")},
    )
    answer.raise_for_status()
    return answer.content
