"""The floor: bare Temporal workflows in a worker process of their own.

`Bare` loops over two activities an iteration; `BareWait` waits as a session does for a person.
"""

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

QUEUE = "bench-bare"


@dataclass(frozen=True)
class Step:
    """A reference to what a real step would read."""

    session: str
    number: int


@activity.defn(name="model")
async def model(step: Step) -> str:
    """Stand in for a model call that answers at once."""
    return f"call tool for {step.session} at {step.number}" + "." * 100


@activity.defn(name="tool")
async def tool(step: Step) -> str:
    """Stand in for a tool that answers at once."""
    return "." * 250


@workflow.defn(name="Bare")
class Bare:
    """Model, tool, model, tool."""

    @workflow.run
    async def run(self, iterations: int) -> None:
        """Loop as often as asked."""
        for number in range(iterations):
            step = Step(workflow.info().workflow_id, number)
            for name in ("model", "tool"):
                await workflow.execute_activity(
                    name, step, start_to_close_timeout=timedelta(seconds=30)
                )


@workflow.defn(name="BareWait")
class BareWait:
    """Nothing but a wait."""

    @workflow.run
    async def run(self, seconds: int) -> None:
        """Wait as long as asked."""
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: False, timeout=timedelta(seconds=seconds))

    @workflow.update
    def vote(self) -> None:
        """Do nothing, and have it answered."""


async def serve(address: str) -> None:
    """Serve the loop's task queue until killed."""
    client = await Client.connect(address)
    workflows = [Bare, BareWait]
    async with Worker(client, task_queue=QUEUE, workflows=workflows, activities=[model, tool]):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
