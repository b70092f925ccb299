"""An agent inside a business workflow: investigate orders, then decide with ordinary code.

`OrderDesk` looks into one order and gets a typed report; `OrderReview` looks into many, a few at a
time. Both are plain Temporal workflows on a worker of your own, with the default sandbox.

    everloop dev
    eval "$(everloop env)" && python examples/business_workflow.py

It runs on the scripted demo model, whose report is filled in by rule. Give the harness a model of
yours to have orders looked into.
"""

import asyncio
import os
import uuid
from datetime import timedelta
from typing import Any, cast

from pydantic import BaseModel
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from everloop import OutputMissing, session_id
from everloop.workflow import run_harness, run_harnesses

QUEUE = "orders"


class OrderReport(BaseModel):
    """What the agent found out."""

    order: str
    suspicious: bool
    reasons: list[str] = []


@workflow.defn
class OrderDesk:
    """Holds a suspicious order, ships any other."""

    @workflow.run
    async def run(self, harness: str, order: int) -> str:
        """Look into an order and decide."""
        try:
            result = await run_harness(
                harness,
                f"Run the shell command `echo order {order}`.",
                output=OrderReport,
                session_id=session_id("order", order, workflow.info().run_id),
                timeout=timedelta(days=3),
            )
        except OutputMissing:
            return f"order {order}: a person must look"
        return f"order {order}: {'hold' if result.output.suspicious else 'ship'}"


@workflow.defn
class OrderReview:
    """Looks into many orders at once."""

    @workflow.run
    async def run(self, harness: str, orders: int) -> list[str]:
        """What the agent said about each order, in their order."""
        prompts = [f"Count to {order}." for order in range(1, orders + 1)]
        results = await run_harnesses(harness, prompts, at_once=5)
        return [result.text for result in results]


async def main() -> None:
    """Create the harness, serve the workflows and run each once."""
    harness = await asyncio.to_thread(create_harness)
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    async with Worker(client, task_queue=QUEUE, workflows=[OrderDesk, OrderReview]):
        decided = await client.execute_workflow(
            OrderDesk.run, args=[harness, 42], id=f"desk-{uuid.uuid4()}", task_queue=QUEUE
        )
        print(decided)
        reviewed = await client.execute_workflow(
            OrderReview.run, args=[harness, 8], id=f"review-{uuid.uuid4()}", task_queue=QUEUE
        )
        print(len(reviewed), "orders reviewed; the last:", reviewed[-1])


def create_harness() -> str:
    """Define the agent, as on AWS; its ARN."""
    # Here, because a workflow's module is loaded in the sandbox, where boto3 cannot be.
    import boto3

    control = cast("Any", boto3).client("bedrock-agentcore-control")
    made = control.create_harness(
        harnessName=f"orders_{uuid.uuid4().hex[:8]}",
        executionRoleArn="arn:aws:iam::000000000000:role/Orders",
        model={"liteLlmModelConfig": {"modelId": "demo/scripted"}},
    )
    return made["harness"]["arn"]


if __name__ == "__main__":
    asyncio.run(main())
