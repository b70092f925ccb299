"""Telling other workflows that a turn has ended.

A workflow that is gone is no fault of the turn: whoever waits also asks the store from time to
time. Nothing is told that the store does not know yet.
"""

from temporalio import workflow
from temporalio.exceptions import FailureError

from contracts.turn import SIGNAL_TURN_ENDED, TurnEnded


async def tell(reply_to: tuple[str, ...], end: TurnEnded) -> None:
    """Signal an end.

    Args:
        reply_to: ids of the workflows that wait for it.
        end: what they are told.
    """
    for workflow_id in reply_to:
        handle = workflow.get_external_workflow_handle(workflow_id)
        try:
            await handle.signal(SIGNAL_TURN_ENDED, end)
        except FailureError as error:
            workflow.logger.info("nobody waits for the turn any more: %s", type(error).__name__)
