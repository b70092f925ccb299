"""Retention: deletes what has become too old, started by a schedule.

In order:
1. Sessions that nobody used for the configured time are marked, some at a time.
2. Each is deleted as when somebody asks for it; so are deletions that were asked for and that no
   workflow carries out, because a process died between the two.
3. Again from 1, until nothing is left but what takes long: that is carried out by workflows of its
   own, for which nothing else waits.

It never deletes a session in which something runs, waits in the queue, or for which people still
have time to decide, and never sees what it deletes.
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
    from workflows.deletion import Going

#: A store transaction, or some.
LOOK_TIMEOUT = timedelta(minutes=1)
#: The next start of the schedule tries again anyway.
LOOK_RETRY = RetryPolicy(maximum_attempts=10)
#: Batches of one start: twenty deletions each. The rest comes with the next one.
MAX_BATCHES = 100


@workflow.defn(name=WORKFLOW_RETENTION)
class Retention:
    """One round of retention."""

    @workflow.run
    async def run(self) -> None:
        """Delete what is due."""
        after: str | None = None
        going = Going()
        for _ in range(MAX_BATCHES):
            due = await workflow.execute_activity(
                DeletionActivity.EXPIRE,
                after,
                result_type=OpenDeletions,
                start_to_close_timeout=LOOK_TIMEOUT,
                retry_policy=LOOK_RETRY,
            )
            if due.last is None:
                return
            after = due.last
            await going.begin(due.actors, WORKFLOW_DELETE_ACTOR)
            await going.begin(due.sessions)
