"""Retention: deletes what has become too old, started by a schedule.

In order:
1. Sessions that nobody used for the configured time are marked, some at a time.
2. Each is deleted as when somebody asks for it; so are deletions that were asked for and that no
   workflow carries out, because a process died between the two.
3. Again from 1, until nothing is left.

It never deletes a session in which something runs or waits in the queue, and never sees what it
deletes.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from contracts.deletion import (
        WORKFLOW_DELETE_ACTOR,
        WORKFLOW_RETENTION,
        DeletionActivity,
        OpenDeletions,
    )
    from workflows.deletion import delete_all

#: A store transaction, or some.
LOOK_TIMEOUT = timedelta(minutes=1)
#: The next start of the schedule tries again anyway.
LOOK_RETRY = RetryPolicy(maximum_attempts=10)
#: Batches of one start: twenty deletions each. The rest comes with the next one, so that a
#: deletion that takes for ever does not keep this from ending.
MAX_BATCHES = 100


@workflow.defn(name=WORKFLOW_RETENTION)
class Retention:
    """One round of retention."""

    @workflow.run
    async def run(self) -> None:
        """Delete what is due."""
        before: OpenDeletions | None = None
        for _ in range(MAX_BATCHES):
            due = await workflow.execute_activity(
                DeletionActivity.EXPIRE,
                result_type=OpenDeletions,
                start_to_close_timeout=LOOK_TIMEOUT,
                retry_policy=LOOK_RETRY,
            )
            # The same ones again are carried out by workflows of their own, which still wait.
            if due == before or due == OpenDeletions():
                return
            before = due
            await delete_all(due.actors, WORKFLOW_DELETE_ACTOR)
            await delete_all(due.sessions)
