"""Deletions beside one that takes long, on a server that skips time, with their effects played."""

import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from contracts.deletion import DeletionActivity, DeletionOrder, OpenDeletions, RunsEnded
from contracts.turn import TASK_QUEUE, Activity, DropEnvironment
from worker import PASSTHROUGH
from workflows.deletion import DeleteActor, DeleteSession
from workflows.retention import Retention

RUNNER = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
STUCK, *OTHERS = IDS = ("deletion-1", "deletion-2", "deletion-3")


@dataclass
class Played:
    """A store of two pages of deletions, the first of which waits for a host that is away."""

    away: bool = True
    claims: int = 0
    complete: list[str] = field(default_factory=list[str])

    @activity.defn(name=DeletionActivity.END_RUNS)
    async def end_runs(self, order: DeletionOrder) -> RunsEnded:
        return RunsEnded("session", TASK_QUEUE if order.deletion_id == STUCK else None)

    @activity.defn(name=DeletionActivity.DELETE_ROWS)
    async def delete_rows(self, order: DeletionOrder) -> None:
        return

    @activity.defn(name=DeletionActivity.DELETE_EXECUTIONS)
    async def delete_executions(self, order: DeletionOrder) -> None:
        return

    @activity.defn(name=DeletionActivity.COMPLETE_DELETION)
    async def complete_deletion(self, order: DeletionOrder) -> None:
        self.complete.append(order.deletion_id)

    @activity.defn(name=DeletionActivity.CLAIM_SESSIONS)
    async def claim_sessions(self, order: DeletionOrder) -> OpenDeletions:
        # A session has no rows any more, and is claimed no more, before its host has answered.
        self.claims += 1
        return OpenDeletions({1: IDS[:2], 2: IDS[2:]}.get(self.claims, ()))

    @activity.defn(name=DeletionActivity.CLAIM_AGENTS)
    async def claim_agents(self, order: DeletionOrder) -> OpenDeletions:
        return OpenDeletions() if order.deletion_id in IDS else self.page(order.after)

    @activity.defn(name=DeletionActivity.EXPIRE)
    async def expire(self, after: str | None) -> OpenDeletions:
        return self.page(after)

    def page(self, after: str | None) -> OpenDeletions:
        left = [each for each in IDS if each > (after or "") and each not in self.complete][:2]
        return OpenDeletions(tuple(left), last=left[-1] if left else None)

    @activity.defn(name=Activity.DROP_ENVIRONMENT)
    async def drop(self, order: DropEnvironment) -> None:
        if self.away:
            raise ApplicationError("nobody answers")


def worker(client: Client, played: Played) -> Worker:
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[DeleteSession, DeleteActor, Retention],
        activities=[
            *(played.end_runs, played.delete_rows, played.delete_executions, played.expire),
            *(played.complete_deletion, played.claim_sessions, played.claim_agents, played.drop),
        ],
        workflow_runner=RUNNER,
    )


@pytest.mark.parametrize("kind", [DeleteActor, DeleteSession])
async def test_a_host_that_is_away_holds_up_its_own_and_the_receipt_above(
    skipping: WorkflowEnvironment, kind: type[DeleteActor | DeleteSession]
) -> None:
    client, played = skipping.client, Played()
    async with worker(client, played):
        handle = await client.start_workflow(
            kind.run, DeletionOrder("above"), id=f"above-{uuid.uuid4()}", task_queue=TASK_QUEUE
        )
        await skipping.sleep(timedelta(minutes=5))
        assert sorted(played.complete) == OTHERS
        played.away = False
        await handle.result()
    assert sorted(played.complete) == sorted(["above", *IDS])
    assert played.complete[-2:] == [STUCK, "above"]
    history = await handle.fetch_history()
    await Replayer(workflows=[kind], workflow_runner=RUNNER).replay_workflow(history)


async def test_a_round_of_retention_ends_though_a_host_is_away(
    skipping: WorkflowEnvironment,
) -> None:
    client, played = skipping.client, Played()
    async with worker(client, played):
        for _ in range(2):
            await client.execute_workflow(
                Retention.run, id=f"retention-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
        assert sorted(played.complete) == OTHERS
        played.away = False
        # The test server's long poll sometimes ends before the workflow does.
        while STUCK not in played.complete:
            with suppress(RuntimeError):
                await client.get_workflow_handle(STUCK).result()
    assert played.complete[-1] == STUCK
