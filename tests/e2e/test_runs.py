"""How the runs of a session follow each other: parking, late answers, long histories."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs park for a second, and Temporal suggests to continue-as-new after 30 events."""
    scratch = tmp_path_factory.mktemp("impatient")
    real = Path(sys.executable).parent / "temporal"
    wrapper = scratch / "bin" / "temporal"
    wrapper.parent.mkdir()
    flag = "--dynamic-config-value limit.historyCount.suggestContinueAsNew=30"
    wrapper.write_text(
        f'#!/bin/sh\n[ "$1" = server ] && exec {shutil.which(real)} "$@" {flag}\n'
        f'exec {shutil.which(real)} "$@"\n'
    )
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    env = {"PATH": path, "EVERLOOP_PARK_S": "1", "EVERLOOP_GRACE_S": "1"}
    running = Stack(scratch / "data", **env).start()
    yield running
    running.stop()


def runs(stack: Stack, session: str) -> list[WorkflowExecution]:
    """The session's runs, oldest first."""

    async def ask() -> list[WorkflowExecution]:
        client = await Client.connect(stack.temporal)
        found = client.list_workflows("WorkflowType = 'HarnessSession'")
        return [run async for run in found if run.id.endswith(session)]

    return sorted(asyncio.run(ask()), key=lambda run: run.start_time)


@pytest.mark.wire("inline.waits")
def test_a_late_answer_starts_a_new_run_from_the_stored_call(impatient: Stack) -> None:
    arn, session = impatient.harness(tools=[APPROVAL]), new_session()
    told = impatient.invoke(arn, session, say("Ask for approval to ship"))

    def statuses() -> list[WorkflowExecutionStatus | None]:
        return [run.status for run in runs(impatient, session)]

    parked = [WorkflowExecutionStatus.CONTINUED_AS_NEW, WorkflowExecutionStatus.COMPLETED]
    wait_until(lambda: statuses() == parked, what="the run did not park and complete")

    resumed = impatient.invoke(arn, session, answer((told.tool_uses[0]["toolUseId"], "yes")))
    assert resumed.stops == ["tool_result", "end_turn"]
    wait_until(lambda: len(statuses()) == 3, what="the answer did not start a new run")


def test_a_long_turn_continues_as_new_between_two_model_calls(impatient: Stack) -> None:
    arn, session = impatient.harness(), new_session()
    work = say("Repeat 9 times: Run the shell command `echo x >> long.txt`")
    told = impatient.invoke(arn, session, work, maxIterations=8)
    assert told.stops == ["tool_use", "tool_result"] * 8 + ["max_iterations_exceeded"]
    (effects,) = impatient.volume_files("long.txt")
    assert effects.read_text().split() == ["x"] * 8
    wait_until(lambda: len(runs(impatient, session)) >= 3, what="one run did it all")
