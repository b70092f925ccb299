"""A notice's way: sent until its receiver has it, or until nobody wants it any more.

In order:
1. The notice is sent. What does not arrive is sent again, twice as late each time up to an hour.
2. A day after the first attempt it is given up, and kept as failed.

It never holds what a notice says, nor where it goes, and never delays a turn: nothing waits for it.
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from contracts.notices import DELIVERY_S, WORKFLOW_NOTICE, NoticeActivity, NoticeOrder
    from workflows.calls import STORE_RETRY, STORE_TIMEOUT

#: One attempt: ten seconds of the network, and store transactions around them.
SEND_TIMEOUT = timedelta(seconds=20)

#: A receiver that restarts is asked soon; one that is down is asked some thirty times a day.
SEND_RETRY = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(hours=1),
)


@workflow.defn(name=WORKFLOW_NOTICE)
class DeliverNotice:
    """The delivery of one notice."""

    @workflow.run
    async def run(self, order: NoticeOrder) -> None:
        """Send a notice.

        Args:
            order: names it.
        """
        try:
            await workflow.execute_activity(
                NoticeActivity.DELIVER,
                order,
                schedule_to_close_timeout=timedelta(seconds=DELIVERY_S),
                start_to_close_timeout=SEND_TIMEOUT,
                retry_policy=SEND_RETRY,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await workflow.execute_local_activity(
                NoticeActivity.GIVE_UP,
                order,
                start_to_close_timeout=STORE_TIMEOUT,
                retry_policy=STORE_RETRY,
            )
