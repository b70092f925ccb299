"""What turns cost late in a long session, beside early ones, and what history they leave."""

import asyncio
import statistics
import time

import httpx
from temporalio.client import Client

from bench.bed import Bed
from bench.iterations import BYTES_BUDGET, EVENTS_BUDGET, cost_of
from bench.report import Figure
from tests.e2e.stack import new_session, say

#: Turns of one model call in one session, and how many early and late ones are compared.
TURNS, QUICK_TURNS, ENDS = 1000, 200, 50
#: Before the early ones, so that they too show the model as much as it is ever shown.
FIRST = 25
#: A late turn may take this many times an early one.
TIME_FACTOR = 1.25
#: A turn has its update, its opening and its end beside its model call: as much as an iteration.
ITERATIONS = 2

_SESSION_HEADER = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"
#: Seconds for one turn.
_PATIENCE_S = 120.0


async def measure(bed: Bed) -> list[Figure]:
    """Have one session talk for long.

    Returns:
        Time of a late turn, its floor an early one's; events and bytes of history of a turn.
    """
    turns = QUICK_TURNS if bed.options.quick else TURNS
    arn, session = bed.harness(), new_session()
    taken = await asyncio.to_thread(_talk, bed, arn, session, turns)
    account, harness = arn.split(":")[4], arn.split("/")[1]
    client = await Client.connect(bed.stack.temporal)
    workflow_id = f"session:{account}:{harness}:{session}"
    cost = await cost_of(client, workflow_id, turns, sum(taken))
    early = statistics.median(taken[FIRST : FIRST + ENDS]) * 1000
    late = statistics.median(taken[-ENDS:]) * 1000
    label = f"turn, of {turns} in a session"
    return [
        Figure(f"{label}: time of the last", "ms", late, early, TIME_FACTOR * early),
        Figure(f"{label}: history events", "events", cost.events, None, ITERATIONS * EVENTS_BUDGET),
        Figure(f"{label}: history size", "bytes", cost.size, None, ITERATIONS * BYTES_BUDGET),
    ]


def _talk(bed: Bed, arn: str, session: str, turns: int) -> list[float]:
    taken: list[float] = []
    with httpx.Client(base_url=bed.stack.endpoint, timeout=_PATIENCE_S) as client:
        for _ in range(turns):
            start = time.perf_counter()
            answer = client.post(
                "/harnesses/invoke",
                params={"harnessArn": arn},
                headers={_SESSION_HEADER: session},
                json={"messages": say("count 1")},
            )
            taken.append(time.perf_counter() - start)
            if b'"end_turn"' not in answer.raise_for_status().content:
                raise RuntimeError(f"a turn did not end as it must: {answer.content[-500:]!r}")
    return taken
