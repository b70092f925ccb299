"""The schedule that starts retention: made when a worker starts, one for all workers."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleSpec,
)

from contracts.deletion import RETENTION_SCHEDULE, WORKFLOW_RETENTION
from contracts.turn import TASK_QUEUE

#: Days are what is configured, so that an hour more or less is no matter.
EVERY = timedelta(hours=1)


async def schedule_retention(client: Client) -> None:
    """Make the schedule unless it is there. Two rounds never run at the same time."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            WORKFLOW_RETENTION, id=RETENTION_SCHEDULE, task_queue=TASK_QUEUE
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=EVERY)]),
    )
    try:
        await client.create_schedule(RETENTION_SCHEDULE, schedule, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        return
