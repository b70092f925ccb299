"""An agent that watches something for months: it wakes by a timer, looks, and sleeps again.

Between two looks nothing runs anywhere but a timer of Temporal's. Every look is a turn of one
session, so that the agent remembers what it saw before, also its files. The watch ends when the
agent reports, when somebody ends it, or after its last look; `look_now` wakes it early.

    everloop dev
    eval "$(everloop env)" && python examples/long_watch.py

It runs three looks, seconds apart, on the scripted demo model. Everloop's own schedules
(docs/schedules.md) do for looks that need no code between them.
"""

import asyncio
import os
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from everloop import HarnessError, session_id
from everloop.workflow import run_harness

QUEUE = "long-watch"
#: Looks in one run of the workflow: a few hundred events; then it continues as new.
LOOKS_IN_A_RUN = 20
#: The word with which the agent reports.
ALARM = "ALARM"


@dataclass(frozen=True)
class Watch:
    """What to watch.

    Attributes:
        harness: who looks.
        prompt: what it is told each time.
        every_s: seconds between two looks.
        looks: the watch ends after so many.
        done: looks so far.
        failed: how many of them failed.
    """

    harness: str
    prompt: str
    every_s: float
    looks: int
    done: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Report:
    """How a watch ended: what the agent said last, after how many looks."""

    said: str
    looks: int
    failed: int
    alarm: bool


@workflow.defn
class LongWatch:
    """Looks, sleeps, and looks again."""

    def __init__(self) -> None:
        """Begin without wishes."""
        self._woken = False
        self._ended = False

    @workflow.run
    async def run(self, watch: Watch) -> Report:
        """Watch until the agent reports or the looks are used up."""
        # The workflow's id, not its run's: the session is the same after continue-as-new.
        session = session_id("watch", workflow.info().workflow_id)
        first = watch.done
        while True:
            said = await self._look(watch, session)
            failed = watch.failed + (said is None)
            watch = replace(watch, done=watch.done + 1, failed=failed)
            alarm = said is not None and ALARM in said
            if alarm or self._ended or watch.done >= watch.looks:
                return Report(said or "", watch.done, watch.failed, alarm)
            await self._sleep(watch.every_s)
            if watch.done - first >= LOOKS_IN_A_RUN:
                workflow.continue_as_new(watch)

    @workflow.signal
    def look_now(self) -> None:
        """Look without waiting for the timer."""
        self._woken = True

    @workflow.signal
    def end(self) -> None:
        """Look a last time and end."""
        self._woken = self._ended = True

    async def _look(self, watch: Watch, session: str) -> str | None:
        try:
            result = await run_harness(
                watch.harness,
                watch.prompt,
                session_id=session,
                key=f"look-{watch.done}",
                timeout=timedelta(hours=1),
            )
        except HarnessError as error:
            workflow.logger.warning("a look failed: %s", error.message)
            return None
        return result.text

    async def _sleep(self, seconds: float) -> None:
        try:
            await workflow.wait_condition(lambda: self._woken, timeout=seconds)
        except TimeoutError:
            return
        self._woken = False


async def main() -> None:
    """Create the harness and watch, three times in a few seconds."""
    harness = await asyncio.to_thread(create_harness)
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    prompt = "Run the shell command `date >> looks.txt; wc -l < looks.txt`."
    async with Worker(client, task_queue=QUEUE, workflows=[LongWatch]):
        report = await client.execute_workflow(
            LongWatch.run,
            Watch(harness, prompt, every_s=2, looks=3),
            id=f"watch-{uuid.uuid4()}",
            task_queue=QUEUE,
        )
    print(report.said)
    print(f"{report.looks} looks, {report.failed} failed", flush=True)


def create_harness() -> str:
    """Define the agent, as on AWS; its ARN."""
    # Here, because a workflow's module is loaded in the sandbox, where boto3 cannot be.
    import boto3

    control = cast("Any", boto3).client("bedrock-agentcore-control")
    made = control.create_harness(
        harnessName=f"guard_{uuid.uuid4().hex[:8]}",
        executionRoleArn="arn:aws:iam::000000000000:role/Guard",
        model={"liteLlmModelConfig": {"modelId": "demo/scripted"}},
    )
    return made["harness"]["arn"]


if __name__ == "__main__":
    asyncio.run(main())
