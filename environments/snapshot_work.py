"""Snapshots that a host makes or puts back: one at a time for a session, joined by who comes later.

Work goes on when nobody waits for it any more.
"""

import asyncio
from collections.abc import Awaitable, Callable

from contracts.errors import AwsError, ServiceError
from environments import fork_files, snapshots
from environments.host import SandboxHost
from environments.session_volume import SessionVolume
from environments.snapshots import Snapshot

#: Snapshots that are made or put back at once, each in a thread.
WORKERS_MAX = 2

Work = Callable[[], Awaitable[Snapshot | None]]


class SnapshotWork:
    """What is under way on one host."""

    def __init__(self, host: SandboxHost) -> None:
        """Work on the volumes of a host."""
        self._host = host
        self._workers = asyncio.Semaphore(WORKERS_MAX)
        self._under_way: dict[str, tuple[str, asyncio.Task[Snapshot | None]]] = {}

    def volume(self, session: str) -> SessionVolume:
        """A session's files, wherever they are.

        Raises:
            EnvironmentUnavailable: environments of the host's kind do not show theirs.
        """
        return self._host.volume(session)

    def busy(self, session: str) -> bool:
        """Whether something is under way in a session."""
        return session in self._under_way

    def require_idle(self, session: str) -> None:
        """See that nothing is under way in a session.

        Raises:
            ServiceError: ConflictException.
        """
        if self.busy(session):
            raise _busy()

    async def carry_out(
        self, session: str, name: str, work: Work, *, wait_s: float
    ) -> Snapshot | None:
        """Begin work or join it.

        Args:
            session: whose.
            name: the same for the same work.
            work: does it.
            wait_s: for how long.

        Returns:
            Its result, or None when it takes longer.

        Raises:
            ServiceError: ConflictException, something else is under way; as the work says.
        """
        if session not in self._under_way:
            self._begin(session, name, work)
        under_way, task = self._under_way[session]
        if under_way != name:
            raise _busy()
        await asyncio.wait([task], timeout=wait_s)
        return task.result() if task.done() else None

    async def before_call(self, session: str, call_id: str, id: str, label: str, keep: int) -> None:
        """Make the snapshot that a rule wants before a call, once; what else is under way is first.

        Args:
            session: whose.
            call_id: the tool call.
            id: of the snapshot.
            label: of the snapshot.
            keep: how many that rules made stay.

        Raises:
            ServiceError: as `snapshots.create`.
            EnvironmentUnavailable: the files cannot be reached.
        """
        where = self.volume(session)

        async def make() -> Snapshot:
            made = await snapshots.create(where, id, label, call_id=call_id)
            await asyncio.to_thread(snapshots.thin_out, where.archives, keep)
            return made

        name = f"create {id}"
        while session in self._under_way and self._under_way[session][0] != name:
            await asyncio.wait([self._under_way[session][1]])
        if session not in self._under_way:
            self._begin(session, name, make)
        # Shielded: an attempt that is given up leaves the work to the next one.
        await asyncio.shield(self._under_way[session][1])

    async def stage(
        self, origin: str, target: str, staged: str, snapshot_id: str | None, *, wait_s: float
    ) -> bool:
        """Copy a session's files for a fork; see `fork_files.stage`.

        Args:
            origin: the session that is forked.
            target: the fork.
            staged: names the copy.
            snapshot_id: the snapshot; the files as they are now when None.
            wait_s: for how long to wait.

        Returns:
            Whether the copy is there.
        """
        where, copy = self.volume(origin), self.volume(target).archives

        async def work() -> None:
            await fork_files.stage(where, copy, staged, snapshot_id)

        await self.carry_out(origin, f"fork {staged}", work, wait_s=wait_s)
        return not self.busy(origin)

    def _begin(self, session: str, name: str, work: Work) -> None:
        task = asyncio.create_task(self._bounded(session, work))
        self._under_way[session] = (name, task)
        task.add_done_callback(lambda _: task.cancelled() or task.exception())

    async def _bounded(self, session: str, work: Work) -> Snapshot | None:
        try:
            async with self._workers:
                return await work()
        finally:
            del self._under_way[session]


def _busy() -> ServiceError:
    return ServiceError(
        AwsError.CONFLICT, "Another snapshot of the session is being made or put back."
    )
