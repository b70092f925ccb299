"""Deleting a session, or all that is of an actor, so that nothing of it is left.

In order, for a session:
1. What runs in it is cancelled and its run ended; the store lets no more invocations in.
2. Meanwhile the sessions of the agents that it called are deleted as it is, each by a workflow of
   its own, and those of their agents.
3. Its host drops its environment with all files.
4. Its rows go, in every table.
5. Its executions in Temporal go.
6. Once its agents' sessions are gone, too, the receipt is completed; from then on it does not name
   what was deleted.

A host that does not answer is asked again until it does; the rest is gone by then, and nothing
waits for it but the receipts above. An actor's sessions are deleted as sessions are, some at a
time, until none is left.

It never gives up, never sees what it deletes, and every part of it may run again.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import NoneType
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from contracts.deletion import (
        WORKFLOW_DELETE_ACTOR,
        WORKFLOW_DELETE_SESSION,
        DeletionActivity,
        DeletionOrder,
        OpenDeletions,
        RunsEnded,
    )
    from contracts.turn import TASK_QUEUE, Activity, DropEnvironment
    from workflows.calls import HEARTBEAT, HOST_WAIT

#: Deleting is repeated until it is done: what is half deleted is not deleted.
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=1)
)
#: A transcript of a hundred thousand messages takes minutes.
STEP_TIMEOUT = timedelta(hours=1)
#: Stopping an environment and deleting its volume of some gigabytes.
DROP_TIMEOUT = timedelta(minutes=10)
#: A host that does not answer is asked again after this long, then after twice as long, and so on.
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
#: Until the deletion of one session that somebody else began is looked at again.
LOOK_AGAIN = timedelta(seconds=1)
#: Until the next page of deletions begins beside one that takes long, as when a host is away.
PATIENCE_S = 60.0


_Result = TypeVar("_Result")


@workflow.defn(name=WORKFLOW_DELETE_SESSION)
class DeleteSession:
    """The deletion of one session."""

    @workflow.run
    async def run(self, order: DeletionOrder) -> None:
        """Delete it.

        Args:
            order: names the deletion.
        """
        ended = RunsEnded(order.session, order.queue)
        if order.queue is None:
            ended = await _do(DeletionActivity.END_RUNS, order, RunsEnded)
        agents = asyncio.create_task(_delete_agents(order))
        dropped = await _drop(ended)
        await _do(DeletionActivity.DELETE_ROWS, order)
        wait = FIRST_WAIT
        while not dropped:
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(
                    DeletionOrder(order.deletion_id, ended.session, ended.queue)
                )
            await workflow.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)
            dropped = await _drop(ended)
        # What was still being written when the rest went.
        await _do(DeletionActivity.DELETE_ROWS, order)
        await agents
        await _do(DeletionActivity.DELETE_EXECUTIONS, order)
        await _do(DeletionActivity.COMPLETE_DELETION, order)


@workflow.defn(name=WORKFLOW_DELETE_ACTOR)
class DeleteActor:
    """The deletion of all that is of an actor."""

    @workflow.run
    async def run(self, order: DeletionOrder) -> None:
        """Delete the actor's sessions until there is none.

        Args:
            order: names the deletion.
        """
        going = Going()
        while True:
            claimed = await _do(DeletionActivity.CLAIM_SESSIONS, order, OpenDeletions)
            await going.begin(claimed.sessions)
            if not claimed.sessions:
                if await going.over():
                    break
            elif workflow.info().is_continue_as_new_suggested():
                await going.over()
                workflow.continue_as_new(order)
        await _do(DeletionActivity.COMPLETE_DELETION, order)


class Going:
    """Deletions that were begun. One that takes long goes on beside those that come next."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Runs of earlier releases wait for all of what they began together.
        self.patient = workflow.patched("one-holds-up-none")

    async def begin(
        self, deletion_ids: tuple[str, ...], kind: str = WORKFLOW_DELETE_SESSION
    ) -> None:
        """Begin deletions, and wait for them for a while.

        Args:
            deletion_ids: those that were begun before are waited for, too.
            kind: the workflow that carries them out.
        """
        for each in deletion_ids:
            if each not in self._tasks:
                self._tasks[each] = asyncio.create_task(self._delete(each, kind))
        if asked := [self._tasks[each] for each in deletion_ids]:
            await workflow.wait(asked, timeout=PATIENCE_S if self.patient else None)
        over = [each for each, task in self._tasks.items() if task.done()]
        for each in over:
            self._tasks.pop(each).result()

    async def over(self) -> bool:
        """Wait for all; whether none had to be waited for."""
        left = list(self._tasks.values())
        await asyncio.gather(*left)
        self._tasks.clear()
        return not left

    async def _delete(self, deletion_id: str, kind: str) -> None:
        wait = LOOK_AGAIN
        while True:
            try:
                return await workflow.execute_child_workflow(
                    kind,
                    DeletionOrder(deletion_id),
                    id=deletion_id,
                    task_queue=TASK_QUEUE,
                    parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                )
            except WorkflowAlreadyStartedError:
                # Somebody else carries it out. What is over by then is carried out at once.
                await workflow.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                if not self.patient:
                    return None


async def _delete_agents(order: DeletionOrder) -> None:
    """Delete the sessions of a session's agents; each is deleted as every session is."""
    # Deletions that began in earlier releases end as they began.
    if not workflow.patched("agents-go-too"):
        return
    going, after = Going(), None
    while True:
        page = replace(order, after=after)
        claimed = await _do(DeletionActivity.CLAIM_AGENTS, page, OpenDeletions)
        await going.begin(claimed.sessions)
        if claimed.sessions:
            after = claimed.last if going.patient else None
        elif await going.over() and after is None:
            return
        else:
            after = None


async def _do(
    name: DeletionActivity, order: DeletionOrder, result_type: type[_Result] = NoneType
) -> _Result:
    return await workflow.execute_activity(
        name,
        order,
        result_type=result_type,
        start_to_close_timeout=STEP_TIMEOUT,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RETRY,
    )


async def _drop(ended: RunsEnded) -> bool:
    """Drop the environment; False when its host does not answer."""
    if ended.session is None or ended.queue is None:
        return True
    try:
        await workflow.execute_activity(
            Activity.DROP_ENVIRONMENT,
            DropEnvironment(ended.session),
            task_queue=ended.queue,
            schedule_to_start_timeout=HOST_WAIT,
            start_to_close_timeout=DROP_TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return False
    return True
