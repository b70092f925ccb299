"""Order approval: an agent investigates, a person decides, and what was begun is undone on a no.

1. The stock is reserved.
2. An agent looks into the order and asks to release it: a shell command that an approval rule of
   its harness holds back. Sales decide until a deadline, then management, then it is a no.
3. Released: the order is shipped. Not released, for whatever reason: the reservation is cancelled.

    everloop dev
    eval "$(everloop env)" && python examples/order_approval.py 42

Then decide in a second terminal:

    everloop inbox
    everloop decide dec-... approve --as ada --as-role sales

It runs on the scripted demo model, which does what the prompt says word for word.
"""

import asyncio
import json
import os
import sys
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

from everloop import HarnessError, session_id
from everloop.workflow import run_harness

QUEUE = "order-approval"
DAY_S = 86400
#: Of an activity here: each talks to one service.
PATIENCE = timedelta(seconds=30)


@dataclass(frozen=True)
class Order:
    """An order, and the harness that looks into it."""

    number: int
    harness: str


@dataclass(frozen=True)
class Verdict:
    """What became of the agent's request: `approved`, `rejected` or `expired`, and by whom."""

    status: str
    by: str
    reason: str | None = None


@workflow.defn
class OrderApproval:
    """Ships an order that people release, and leaves no trace of any other."""

    @workflow.run
    async def run(self, order: Order) -> str:
        """Have an order looked into and decided about; what became of it."""
        shipped = False
        await _do(reserve_stock, order.number)
        try:
            verdict = await self._released(order)
            if verdict.status == "approved":
                await _do(ship, order.number)
                shipped = True
        finally:
            # Also after an error and when the workflow is cancelled.
            if not shipped:
                await _do(cancel_reservation, order.number)
        told = f"{verdict.status} by {verdict.by}"
        return f"order {order.number}: {'shipped' if shipped else 'cancelled'}, {told}"

    async def _released(self, order: Order) -> Verdict:
        session = session_id("order", order.number, workflow.info().workflow_id)
        try:
            await run_harness(
                order.harness,
                f"Run the shell command `echo order {order.number}: 3 machines, 9000 EUR`. "
                f"Run the shell command `echo release {order.number} >> released.txt`.",
                session_id=session,
                timeout=timedelta(days=14),
            )
        except HarnessError as error:
            return Verdict("failed", "everloop", error.message)
        # The record of the decision is believed, not what a model says about it.
        return await _do(verdict_of, session)


async def _do(step: Any, argument: Any) -> Any:
    return await workflow.execute_activity(step, argument, start_to_close_timeout=PATIENCE)


@activity.defn
async def reserve_stock(order: int) -> None:
    """Stands for a call of the stock's service, under the order as the key."""
    print(f"order {order}: reserved", flush=True)


@activity.defn
async def cancel_reservation(order: int) -> None:
    """Undoes `reserve_stock`."""
    print(f"order {order}: reservation cancelled", flush=True)


@activity.defn
async def ship(order: int) -> None:
    """Stands for a call of the shipping service."""
    print(f"order {order}: shipping", flush=True)


@activity.defn
async def verdict_of(session: str) -> Verdict:
    """What people decided in a session."""
    return await asyncio.to_thread(_verdict_of, session)


def _verdict_of(session: str) -> Verdict:
    from everloop.inbox import Inbox

    inbox = Inbox.at(os.environ["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"])
    for status in ("approved", "rejected", "expired"):
        for decision in inbox.list(status=status):
            if decision["runtimeSessionId"] == session:
                found = inbox.get(decision["decisionId"])
                reasons = [vote["reason"] for vote in found["votes"] if vote["reason"]]
                return Verdict(status, found["decidedBy"], reasons[-1] if reasons else None)
    return Verdict("withdrawn", "nobody")


WORKFLOWS = [OrderApproval]
ACTIVITIES = [reserve_stock, cancel_reservation, ship, verdict_of]


def extensions(sales_s: int = DAY_S, management_s: int = DAY_S) -> dict[str, Any]:
    """The rules of the harness: who decides, and for how many seconds each may take."""
    release: dict[str, Any] = {
        "name": "releasing an order",
        "tools": ["shell"],
        "action": "ask",
        "when": [{"path": "/command", "operator": "matches", "value": "\\brelease\\b"}],
        "deciders": {"roles": ["sales"]},
        "deadlineSeconds": sales_s,
        "onTimeout": "escalate",
        "escalateTo": {"deciders": {"roles": ["management"]}, "deadlineSeconds": management_s},
    }
    look = {
        "name": "looking",
        "tools": ["shell"],
        "action": "allow",
        "when": [{"path": "/command", "operator": "matches", "value": "^echo [\\w :,]*$"}],
    }
    return {"approvals": {"rules": [release, look, {"tools": ["*"], "action": "ask"}]}}


def create_harness(rules: dict[str, Any]) -> str:
    """Define the agent with its rules; its ARN, once it is ready."""
    # Here, because a workflow's module is loaded in the sandbox, where boto3 cannot be.
    import boto3

    control = cast("Any", boto3).client("bedrock-agentcore-control")

    def add_rules(request: Any, **_: Any) -> None:
        request.headers["x-everloop-extensions"] = json.dumps(rules)

    event = "before-sign.bedrock-agentcore-control.CreateHarness"
    control.meta.events.register(event, add_rules)
    made = control.create_harness(
        harnessName=f"orders_{uuid.uuid4().hex[:8]}",
        executionRoleArn="arn:aws:iam::000000000000:role/Orders",
        model={"liteLlmModelConfig": {"modelId": "demo/scripted"}},
    )
    return made["harness"]["arn"]


async def main(order: int) -> None:
    """Create the harness and take an order to its end, however long people take."""
    harness = await asyncio.to_thread(create_harness, extensions())
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    async with Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES):
        done = await client.execute_workflow(
            OrderApproval.run,
            Order(order, harness),
            id=f"order-{order}-{uuid.uuid4()}",
            task_queue=QUEUE,
        )
    print(done, flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 42))
