"""The schedule that starts retention: made when a worker starts, one for all workers."""

import asyncio
import logging
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleSpec,
)
from temporalio.service import RPCError

from contracts.deletion import RETENTION_SCHEDULE, WORKFLOW_RETENTION
from contracts.turn import TASK_QUEUE

log = logging.getLogger(__name__)

#: Days are what is configured, so that an hour more or less is no matter.
EVERY = timedelta(hours=1)
#: Seconds until it is tried again, when Temporal went away just then.
AGAIN_S = 5.0


async def schedule_retention(client: Client) -> None:
    """Make the schedule unless it is there, and try until it is there."""
    while True:
        try:
            await _schedule(client)
            return
        except RPCError as error:
            log.warning("retention is not scheduled yet: %s", error)
        await asyncio.sleep(AGAIN_S)


async def _schedule(client: Client) -> None:
    """Make the schedule. Two rounds never run at the same time."""
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
