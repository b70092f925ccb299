"""The provisioning workflow's own activities: store transactions, as local activities.

Each is idempotent: it may run again after it committed, when the worker died before Temporal heard.
"""

from temporalio import activity

from activities.tools.catalog import unserved
from contracts.ids import sandbox_queue
from contracts.provisioning import (
    EndSession,
    FindSessions,
    FinishDelete,
    Operation,
    ProvisioningActivity,
    Removal,
    ResourceStatus,
    SessionLeft,
    SessionsLeft,
    Settled,
)
from store import Store

#: Hosts that a failure reason names; more do not help whoever reads it.
NAMED_HOSTS = 5


class ProvisioningActivities:
    """Moves harnesses and endpoints on in the store."""

    def __init__(self, store: Store) -> None:
        """Work on a store."""
        self._store = store

    @activity.defn(name=ProvisioningActivity.SETTLE)
    async def settle(self, operation: Operation) -> Settled:
        """Bring a change to its end: READY, failed with a reason, or gone.

        A harness that is to be deleted is left as it is: its sessions come first.
        """
        found = await self._store.provisioning.look(operation)
        if found is None:
            return Settled()
        status, config = found
        if status is ResourceStatus.DELETING:
            if operation.endpoint is None:
                return Settled(ends_sessions=True)
            await self._store.provisioning.settle(operation, None)
            return Settled()
        await self._store.provisioning.settle(operation, unserved(config))
        return Settled()

    @activity.defn(name=ProvisioningActivity.FIND_SESSIONS)
    async def find_sessions(self, wanted: FindSessions) -> SessionsLeft:
        """The next sessions of a harness of which more is left than their transcripts."""
        found = await self._store.provisioning.sessions_left(
            wanted.operation, after=wanted.after, limit=wanted.limit
        )
        alive = await self._store.environments.alive()
        left: list[SessionLeft] = []
        for key, busy, host in found:
            if host is not None and host not in alive:
                # One that shares its volumes can delete them too.
                host = await self._store.environments.host_of(key)
            left.append(SessionLeft(key, busy, None if host is None else sandbox_queue(host)))
        return SessionsLeft(tuple(left))

    @activity.defn(name=ProvisioningActivity.END_SESSION)
    async def end_session(self, ended: EndSession) -> None:
        """End what runs and what waits in a session."""
        await self._store.provisioning.end_session(ended.session)

    @activity.defn(name=ProvisioningActivity.FINISH_DELETE)
    async def finish_delete(self, finish: FinishDelete) -> None:
        """Let a harness go, or say why it could not."""
        if finish.removal.left:
            await self._store.provisioning.settle(finish.operation, _why_left(finish.removal))
        else:
            await self._store.provisioning.finish_delete(finish.operation)


def _why_left(removal: Removal) -> str:
    hosts = sorted(removal.unreachable)
    named = ", ".join(hosts[:NAMED_HOSTS]) + (" and others" if len(hosts) > NAMED_HOSTS else "")
    where = f"no sandbox host serves {named}" if hosts else "their sandbox hosts failed"
    return (
        f"The environments and files of {removal.left} sessions could not be removed: {where}. "
        "Start the host again and repeat DeleteHarness."
    )
