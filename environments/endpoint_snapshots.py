"""Snapshots of a session's files, as a sandbox host's endpoint serves them.

`GET /snapshots` lists, `DELETE` removes. `POST` makes one, with `restore` puts one back, or with
`target` copies files for a fork: the answer comes when it is done, or after a while with what is
under way; asked again, it goes on.
"""

import asyncio
import re
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contracts.errors import invalid
from environments import fork_files, snapshots
from environments.endpoint_calls import session_of, text
from environments.host import SandboxHost
from environments.session_volume import SessionVolume
from environments.snapshot_work import SnapshotWork
from environments.snapshots import Snapshot
from store import Store

#: Names the copy of files that a fork begins with.
_STAGED = re.compile(r"[0-9a-f]{32}")
#: Seconds until an answer says that the work is still under way: callers wait thirty at most.
ANSWER_S = 20.0


class SnapshotRoutes:
    """Makes and puts back snapshots of a host's sessions, one at a time for each session."""

    def __init__(self, store: Store, host: SandboxHost, work: SnapshotWork) -> None:
        """Serve the volumes of a host."""
        self._store = store
        self._host = host
        self._work = work

    async def read(self, request: Request) -> Response:
        """The snapshots of a session, oldest first."""
        _, where = await self._place(request)
        found = await asyncio.to_thread(snapshots.listed, where.archives)
        return JSONResponse({"snapshots": [_shown(each) for each in found]})

    async def delete(self, request: Request) -> Response:
        """Remove a snapshot."""
        session, where = await self._place(request)
        id = text(request, "id")
        self._work.require_idle(session)
        await asyncio.to_thread(snapshots.remove, where.archives, id)
        return JSONResponse({})

    async def change(self, request: Request) -> Response:
        """Make a snapshot, or put one back."""
        session, where = await self._place(request)
        id = request.query_params.get("id", "")
        if request.query_params.get("restore") == "1":
            token = text(request, "token")
            if not await asyncio.to_thread(snapshots.was_restored, where.archives, token):
                await self._work.carry_out(
                    session,
                    f"restore {id} {token}",
                    lambda: self._restore(session, where, id, token),
                    wait_s=ANSWER_S,
                )
            done = not self._work.busy(session)
            return JSONResponse({"id": id, "status": "RESTORED" if done else "RESTORING"})
        if "target" in request.query_params:
            return await self._fork(request, session)
        label = request.query_params.get("label", "")
        made = await self._work.carry_out(
            session,
            f"create {id}",
            lambda: snapshots.create(where, id, label),
            wait_s=ANSWER_S,
        )
        return JSONResponse(
            {"id": id, "label": label, "status": "CREATING"} if made is None else _shown(made)
        )

    async def _fork(self, request: Request, session: str) -> Response:
        """Copy files, or a snapshot, for a fork; or drop the copy of one that was refused."""
        target, staged = text(request, "target"), text(request, "staged")
        if not _STAGED.fullmatch(staged):
            raise invalid("staged", f"must match {_STAGED.pattern}")
        if request.query_params.get("drop") == "1":
            await asyncio.to_thread(fork_files.drop, self._work.volume(target).archives, staged)
            return JSONResponse({})
        id = request.query_params.get("id")
        done = await self._work.stage(session, target, staged, id, wait_s=ANSWER_S)
        return JSONResponse({"host": self._host.name, "status": "STAGED" if done else "STAGING"})

    async def _restore(self, session: str, where: SessionVolume, id: str, token: str) -> None:
        replace = partial(self._host.replace_files, session)
        await snapshots.restore(where, id, token, replace)

    async def _place(self, request: Request) -> tuple[str, SessionVolume]:
        session = await session_of(request, self._store, self._host)
        return session, self._work.volume(session)


def _shown(snapshot: Snapshot) -> dict[str, Any]:
    shown = {to_camel(name): value for name, value in asdict(snapshot).items()}
    return shown | {"status": "READY"}
