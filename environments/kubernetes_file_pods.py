"""Pods in which a session's files are at hand: its own, where one runs, else one for files.

A pod for files has nothing but the volume, is made when it is needed and goes when it is not.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from contracts.errors import EnvironmentUnavailable
from environments.kubernetes_api import ClusterApi
from environments.kubernetes_pod import FILES_MOUNT, SESSION_LABEL

log = logging.getLogger(__name__)

#: Operations at once; each is a process in a pod.
OPERATIONS_MAX = 16
#: Seconds that a pod for files stays when nobody uses it.
KEPT_S = 60.0

Make = Callable[[str, str, int], Awaitable[None]]


class FilePods:
    """Finds, for each session, a pod that has its volume."""

    def __init__(self, api: ClusterApi, make: Make) -> None:
        """Know none yet.

        Args:
            api: of the cluster.
            make: makes a pod that has nothing but a volume, by its name, the claim and the user.
        """
        self._api = api
        self._make = make
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._users: dict[str, int] = {}
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self.operations = asyncio.Semaphore(OPERATIONS_MAX)

    def lock(self, claim: str) -> asyncio.Lock:
        """Held by whoever starts or ends pods of a session."""
        return self._locks.setdefault(claim, asyncio.Lock())

    @asynccontextmanager
    async def place(self, claim: str, user: int, make: bool) -> AsyncGenerator[tuple[str, str]]:
        """A running pod that has a volume, and where it sees it.

        Args:
            claim: the volume.
            user: who owns what is in it.
            make: whether one is made when none runs.

        Raises:
            EnvironmentUnavailable: none can be had.
        """
        name = _name(claim)
        leaving = self._leaving.pop(claim, None)
        if leaving is not None:
            leaving.cancel()
        self._users[claim] = self._users.get(claim, 0) + 1
        try:
            async with self.lock(claim):
                found = await self._running(claim)
                if found is None and not make:
                    raise EnvironmentUnavailable("no pod has the session's files now")
                if found is None:
                    await self._api.remove_pod(name)
                    await self._make(name, claim, user)
                    found = (name, FILES_MOUNT)
            yield found
        finally:
            self._users[claim] -= 1
            if not self._users[claim]:
                del self._users[claim]
                self._leaving[claim] = asyncio.create_task(self._leave(claim))

    async def end_all(self, claim: str, *, but_for_files: bool = False) -> None:
        """End the pods of a session, of whatever host. Under the session's lock."""
        for name in await self._api.names(f"{SESSION_LABEL}={claim}"):
            if not but_for_files or name != _name(claim):
                await self._api.remove_pod(name)

    async def close(self) -> None:
        """Forget all; their owner ends those that are left when it starts, or the cluster does."""
        tasks = list(self._leaving.values())
        self._leaving.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _running(self, claim: str) -> tuple[str, str] | None:
        for pod in await self._api.pods(f"{SESSION_LABEL}={claim}"):
            if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None:
                mounts = pod.spec.containers[0].volume_mounts
                where = next(each.mount_path for each in mounts if each.name == "session")
                return str(pod.metadata.name), str(where)
        return None

    async def _leave(self, claim: str) -> None:
        await asyncio.sleep(KEPT_S)
        try:
            async with self.lock(claim):
                await self._api.remove_pod(_name(claim))
        except EnvironmentUnavailable as error:
            log.warning("a pod for files is left to the cluster: %s", error)
        self._leaving.pop(claim, None)


def _name(claim: str) -> str:
    return f"{claim}-files"
