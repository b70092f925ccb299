"""Business workflows as a user of Everloop writes them, with nothing passed through the sandbox."""

from typing import Any, cast

from pydantic import BaseModel
from temporalio import workflow

from everloop import RunOptions
from everloop.workflow import run_harness, run_harnesses

QUEUE = "business"


class OrderReport(BaseModel):
    """What came of looking into an order."""

    summary: str
    risk: int
    tags: list[str] = []


@workflow.defn
class Investigate:
    """Runs a harness and returns what it said."""

    @workflow.run
    async def run(self, harness: str, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
        told = cast("RunOptions", options)
        result = await run_harness(harness, prompt, **told)
        return {
            "text": result.text,
            "stop_reason": result.stop_reason,
            "done": result.done,
            "tokens": result.usage.total_tokens,
            "session_id": result.session_id,
            "invocation_id": result.invocation_id,
        }


@workflow.defn
class Report:
    """Asks for structured results, one of them not an object."""

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


WORKFLOWS = [Investigate, Report, InvestigateAll]
