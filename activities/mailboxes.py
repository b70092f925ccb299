"""What deleting a session does about its mailboxes: what was sent to it stands in their histories.

A mailbox is found by the runs that it had the session do. One that had it do nothing yet is not of
the session: what it holds is as a call that comes after the deletion.
"""

from collections.abc import Iterable

from temporalio.client import Client, RPCError, RPCStatusCode

from everloop.mailbox import MAILBOX

_PREFIX = "mailbox/"


def mailboxes_of(runs: Iterable[str]) -> tuple[str, ...]:
    """The workflow ids of the mailboxes that started runs.

    Args:
        runs: workflow ids of whatever waited for turns; anybody may have chosen them.
    """
    own = (each.rpartition("/")[0] for each in runs if each.startswith(_PREFIX))
    return tuple(dict.fromkeys(each for each in own if each.startswith(_PREFIX)))


async def end_mailbox(client: Client, mailbox: str) -> None:
    """Terminate a mailbox with the run that it waits for, and what is queued in it.

    Raises:
        RPCError: Temporal did not answer.
    """
    handle = client.get_workflow_handle(mailbox)
    try:
        found = await handle.describe()
        if found.workflow_type != MAILBOX:
            return
        await handle.terminate(reason="the session is deleted")
        for child in found.raw_description.pending_children:
            run = client.get_workflow_handle(child.workflow_id, run_id=child.run_id)
            await run.terminate(reason="the session is deleted")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
