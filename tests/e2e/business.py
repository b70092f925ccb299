"""Business workflows as users of Everloop write them, with nothing passed through the sandbox.

`python -m tests.e2e.business ADDRESS` serves them in a process of its own.
"""

import asyncio
import sys
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

import everloop.activity
import everloop.nexus
from everloop import RunOptions
from everloop.runs import DEV_ENDPOINT
from everloop.workflow import run_harness, run_harnesses

QUEUE = "business"

Told = dict[str, Any]


class OrderReport(BaseModel):
    summary: str
    risk: int
    tags: list[str] = []


def told(result: everloop.HarnessResult[Any]) -> Told:
    """A result as a workflow's own."""
    return {
        "text": result.text,
        "stop_reason": result.stop_reason,
        "done": result.done,
        "tokens": result.usage.total_tokens,
        "truncated": result.truncated,
        "session_id": result.session_id,
        "invocation_id": result.invocation_id,
    }


@workflow.defn
class Investigate:
    """Runs a harness and returns what it said."""

    @workflow.run
    async def run(self, harness: str, prompt: str, options: Told) -> Told:
        return told(await run_harness(harness, prompt, **cast("RunOptions", options)))


@workflow.defn
class Reporting:
    """Asks for structured results, one of which is no object, in one session."""

    @workflow.run
    async def run(self, harness: str, prompt: str) -> list[Any]:
        report = await run_harness(harness, prompt, output=OrderReport)
        numbers = await run_harness(harness, prompt, output=list[int], session_id=report.session_id)
        return [report.output.summary, report.output.risk, numbers.output]


@workflow.defn
class InvestigateAll:
    """Runs a harness over many orders."""

    @workflow.run
    async def run(self, harness: str, orders: int, at_once: int) -> list[str]:
        prompts = [f"Count to {order}" for order in range(1, orders + 1)]
        results = await run_harnesses(harness, prompts, at_once=at_once)
        return [result.text for result in results]


@workflow.defn
class FailsFirst:
    """Fails after its run, twice, and is retried."""

    @workflow.run
    async def run(self, harness: str, prompt: str) -> list[Any]:
        result = await run_harness(harness, prompt)
        attempt = workflow.info().attempt
        if attempt < 3:
            raise ApplicationError("not yet")
        return [attempt, result.text, result.invocation_id]


@workflow.defn
class FailsMeanwhile:
    """Fails while its run is going, once, and is retried."""

    @workflow.run
    async def run(self, harness: str, prompt: str) -> Told:
        running = asyncio.create_task(run_harness(harness, prompt))
        if workflow.info().attempt == 1:
            await workflow.wait([running], timeout=1)
            raise ApplicationError("not yet")
        return told(await running)


@workflow.defn
class GoesOn:
    """Continues as new; one call is its own in each run, the other has a key."""

    @workflow.run
    async def run(self, harness: str, seen: list[list[str]]) -> list[list[str]]:
        own = await run_harness(harness, "Count to 1")
        kept = await run_harness(harness, "Count to 2", key="kept")
        seen = [*seen, [own.invocation_id, kept.invocation_id]]
        if len(seen) == 2:
            return seen
        workflow.continue_as_new(args=[harness, seen])


@workflow.defn
class ThroughNexus:
    """Runs a harness through a Nexus endpoint."""

    @workflow.run
    async def run(self, harness: str, prompt: str) -> str:
        result = await everloop.nexus.run_harness(DEV_ENDPOINT, harness, prompt, output=OrderReport)
        return result.output.summary


@workflow.defn
class ThroughNexusAsJson:
    """Runs a harness through a Nexus endpoint as another language does: names and JSON only."""

    @workflow.run
    async def run(self, harness: str, prompt: str, session: str) -> Told:
        client: workflow.NexusClient[Any] = workflow.create_nexus_client(
            service="everloop", endpoint=DEV_ENDPOINT
        )
        asked = {"harness": harness, "prompt": prompt, "session_id": session, "qualifier": None}
        return await client.execute_operation("run_harness", asked, output_type=dict[str, Any])


@activity.defn
async def investigate(harness: str, prompt: str) -> str:
    return (await everloop.activity.run_harness(harness, prompt)).text


@workflow.defn
class InActivity:
    """Runs a harness in an activity that is retried when its worker dies."""

    @workflow.run
    async def run(self, harness: str, prompt: str) -> str:
        return await workflow.execute_activity(
            investigate,
            args=[harness, prompt],
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=100)),
        )


WORKFLOWS = [
    Investigate,
    Reporting,
    InvestigateAll,
    FailsFirst,
    FailsMeanwhile,
    GoesOn,
    ThroughNexus,
    ThroughNexusAsJson,
    InActivity,
]


def business_worker(client: Client) -> Worker:
    """A worker as its users make it: the default sandbox, nothing of Everloop's special to it."""
    return Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[investigate])


async def _serve(address: str) -> None:
    async with business_worker(await Client.connect(address)):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
