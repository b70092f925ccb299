"""Provisioning: one short workflow for each change of a harness or an endpoint.

In order:
1. The change is brought to its end in the store: what is created or updated becomes READY, or
   failed with a reason; an endpoint that is deleted goes.
2. Only when a harness is deleted: its sessions are ended, a page at a time. The run of a session in
   which something runs or waits is cancelled, what it left open is closed in the store, and the
   sandbox host that has its environment drops it with its files.
3. Then the harness goes. When a host did not answer, it is DELETE_FAILED with the reason instead; a
   repeated DeleteHarness goes through what is left.

It never decides what a resource is to become: the store's row says so, and an operation that is no
longer the row's changes nothing. It never holds a configuration, never waits for a host without
bound, and never deletes a transcript.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    FailureError,
    TimeoutError,
    TimeoutType,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from contracts.provisioning import (
        WORKFLOW_PROVISIONING,
        EndSession,
        FindSessions,
        FinishDelete,
        Operation,
        Provision,
        ProvisioningActivity,
        Removal,
        SessionLeft,
        SessionsLeft,
        Settled,
    )
    from contracts.turn import Activity, DropEnvironment
    from workflows.calls import HEARTBEAT, HOST_WAIT, STORE_RETRY, STORE_TIMEOUT

#: Sessions that are ended at the same time.
PAGE = 50

#: Pages of one run; each is some 500 events of the 51,200 that a run may have.
PAGES_A_RUN = 20

#: Stopping an environment takes a second; deleting a large volume may take minutes.
DROP_TIMEOUT = timedelta(minutes=10)

#: Dropping is idempotent; what fails so often needs somebody to look at it.
DROP_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    maximum_interval=timedelta(seconds=5),
    maximum_attempts=5,
)


@workflow.defn(name=WORKFLOW_PROVISIONING)
class Provisioning:
    """The way of one change from its status in transition to its end."""

    @workflow.run
    async def run(self, provision: Provision) -> None:
        """Bring a change to its end.

        Args:
            provision: names it, and says how far an earlier run came.
        """
        operation = provision.operation
        removal = provision.removal
        if removal is None:
            if not (await _settle(operation)).ends_sessions:
                return
            removal = Removal()
        for _ in range(PAGES_A_RUN):
            page = (await _find(operation, removal.after)).sessions
            if not page:
                await _finish(operation, removal)
                return
            removal = await _end_page(page, removal)
        workflow.continue_as_new(Provision(operation, removal))


async def _end_page(page: tuple[SessionLeft, ...], removal: Removal) -> Removal:
    """End sessions at the same time, but none whose host was found not to answer before."""
    trouble = await asyncio.gather(*(_end(left, removal.unreachable) for left in page))
    unreachable = {queue for queue, unanswered in trouble if queue and unanswered}
    return replace(
        removal,
        after=page[-1].session,
        unreachable=tuple(sorted({*removal.unreachable, *unreachable})),
        left=removal.left + sum(queue is not None for queue, _ in trouble),
    )


async def _end(left: SessionLeft, unreachable: tuple[str, ...]) -> tuple[str | None, bool]:
    """End a session.

    Returns:
        The queue whose host could not drop the environment, None when there is nothing left; and
        whether it did not answer at all.
    """
    if left.busy:
        await _cancel(left.session)
    await workflow.execute_local_activity(
        ProvisioningActivity.END_SESSION,
        EndSession(left.session),
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
    if left.queue is None:
        return None, False
    if left.queue in unreachable:
        return left.queue, True
    try:
        await workflow.execute_activity(
            Activity.DROP_ENVIRONMENT,
            DropEnvironment(left.session),
            task_queue=left.queue,
            schedule_to_start_timeout=HOST_WAIT,
            start_to_close_timeout=DROP_TIMEOUT,
            heartbeat_timeout=HEARTBEAT,
            retry_policy=DROP_RETRY,
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        return left.queue, _unanswered(error)
    return None, False


def _unanswered(error: ActivityError) -> bool:
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


async def _cancel(session: str) -> None:
    try:
        await workflow.get_external_workflow_handle(session).cancel()
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        # No run is open: then the store's word that the session has ended is all that is needed.


async def _settle(operation: Operation) -> Settled:
    return await workflow.execute_local_activity(
        ProvisioningActivity.SETTLE,
        operation,
        result_type=Settled,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def _find(operation: Operation, after: str) -> SessionsLeft:
    return await workflow.execute_local_activity(
        ProvisioningActivity.FIND_SESSIONS,
        FindSessions(operation, after, PAGE),
        result_type=SessionsLeft,
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )


async def _finish(operation: Operation, removal: Removal) -> None:
    await workflow.execute_local_activity(
        ProvisioningActivity.FINISH_DELETE,
        FinishDelete(operation, removal),
        start_to_close_timeout=STORE_TIMEOUT,
        retry_policy=STORE_RETRY,
    )
