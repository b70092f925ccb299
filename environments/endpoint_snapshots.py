"""Snapshots of a session's files, as a sandbox host's endpoint serves them.

`GET /snapshots` lists, `DELETE` removes. `POST` makes one, or with `restore` puts one back: the
answer comes when it is done, or after a while with what is under way; asked again, it goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contracts.environment import EnvironmentSpec
from contracts.errors import AwsError, ServiceError
from environments import snapshots
from environments.endpoint_calls import session_of, text
from environments.host import SandboxHost
from environments.session_volume import SessionVolume
from environments.snapshots import Snapshot
from store import Store

#: Seconds until an answer says that the work is still under way: callers wait thirty at most.
ANSWER_S = 20.0
#: Snapshots that are made or put back at once, each in a thread.
WORKERS_MAX = 2

_Work = Callable[[], Awaitable[Snapshot | None]]


class SnapshotRoutes:
    """Makes and puts back snapshots of a host's sessions, one at a time for each session."""

    def __init__(self, store: Store, host: SandboxHost) -> None:
        """Serve the volumes of a host."""
        self._store = store
        self._host = host
        self._workers = asyncio.Semaphore(WORKERS_MAX)
        self._under_way: dict[str, tuple[str, asyncio.Task[Snapshot | None]]] = {}

    async def read(self, request: Request) -> Response:
        """The snapshots of a session, oldest first."""
        _, where = await self._place(request)
        found = await asyncio.to_thread(snapshots.listed, where.archives)
        return JSONResponse({"snapshots": [_shown(each) for each in found]})

    async def delete(self, request: Request) -> Response:
        """Remove a snapshot."""
        session, where = await self._place(request)
        id = text(request, "id")
        self._require_idle(session)
        await asyncio.to_thread(snapshots.remove, where.archives, id)
        return JSONResponse({})

    async def change(self, request: Request) -> Response:
        """Make a snapshot, or put one back."""
        session, where = await self._place(request)
        id = text(request, "id")
        if request.query_params.get("restore") == "1":
            token = text(request, "token")
            if not await asyncio.to_thread(snapshots.was_restored, where.archives, token):
                await self._carry_out(
                    session,
                    f"restore {id} {token}",
                    lambda: self._restore(session, where, id, token),
                )
            done = session not in self._under_way
            return JSONResponse({"id": id, "status": "RESTORED" if done else "RESTORING"})
        label = request.query_params.get("label", "")
        made = await self._carry_out(
            session,
            f"create {id}",
            lambda: snapshots.create(where, id, label),
        )
        return JSONResponse(
            {"id": id, "label": label, "status": "CREATING"} if made is None else _shown(made)
        )

    async def _restore(self, session: str, where: SessionVolume, id: str, token: str) -> None:
        await where.restore(id, token, partial(self._host.replace_files, session))

    async def _carry_out(self, session: str, name: str, work: _Work) -> Snapshot | None:
        """Begin work or join it; its result, or None when it takes longer."""
        if session not in self._under_way:
            task = asyncio.create_task(self._bounded(session, work))
            self._under_way[session] = (name, task)
            task.add_done_callback(lambda _: task.cancelled() or task.exception())
        under_way, task = self._under_way[session]
        if under_way != name:
            raise _busy()
        await asyncio.wait([task], timeout=ANSWER_S)
        return task.result() if task.done() else None

    async def _bounded(self, session: str, work: _Work) -> Snapshot | None:
        try:
            async with self._workers:
                return await work()
        finally:
            del self._under_way[session]

    def _require_idle(self, session: str) -> None:
        if session in self._under_way:
            raise _busy()

    async def _place(self, request: Request) -> tuple[str, SessionVolume]:
        session = await session_of(request, self._store, self._host)
        # Where commands see the files is no matter: all of them are kept.
        return session, self._host.volume(session, EnvironmentSpec.mount)


def _busy() -> ServiceError:
    return ServiceError(
        AwsError.CONFLICT, "Another snapshot of the session is being made or put back."
    )


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    shown = {to_camel(name): value for name, value in asdict(snapshot).items()}
    return shown | {"status": "READY"}
