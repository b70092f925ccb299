"""Lists what each turn's tool calls do to its session's files.

Before a turn's first call the host notes how the files are, beside the volume, where the next host
process finds it, and one that takes the session over on shared volumes. After each call it compares
and writes the list down, and once more when the turn has ended. Calls wait for the first look only;
a volume that is too large to be looked at quickly gets no list, and says so.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from contracts.errors import EnvironmentUnavailable, ServiceError
from contracts.turn_files import TurnFiles
from environments.agentd_scan import Files, TooMuch
from environments.host import SandboxHost
from environments.session_volume import SessionVolume
from environments.volume_changes import Checksums, compare
from environments.volumes import beside
from store import Store

log = logging.getLogger(__name__)

#: Seconds between two questions which turns have ended.
ENDED_S = 0.5
#: Seconds between two looks: what ends together is looked at together.
PAUSE_S = 0.05
#: Files of one turn's beginning that stay in memory; more are read from the note each time.
REMEMBERED_MAX = 2000
#: Seconds between looks for turns of sessions that came from other hosts.
ADOPT_S = 30.0
#: Looks at volumes that run at once, each in a thread.
WORKERS_MAX = 2

_BEGUN_LATE = (
    "The note of the files as they were when the turn began is gone: what was changed before the "
    "session came to this host is not listed."
)
#: The session was stopped, or deleted.
_NOT_READ = "The files could not be read when the turn had ended; this is what was seen before."


@dataclass(frozen=True)
class _Begun:
    """The files as they were when a turn began, or why they are not known."""

    files: Files | None = None
    kept: bool = False
    why_not: str | None = None


@dataclass
class _Turn:
    """A turn whose calls touch files.

    Attributes:
        where: the files are.
        noted: whether there is a note of the files when it began; else they cannot be compared.
        before: what the note says, unless it is long.
        why_not: why the list is incomplete.
        due: whether a call has ended since the last look.
        written: what the store has.
        sums: checksums that were made.
        lock: one look at a time.
    """

    where: SessionVolume
    noted: bool
    before: Files | None
    why_not: str | None
    due: bool = False
    written: TurnFiles = field(default_factory=TurnFiles)
    sums: Checksums = field(default_factory=Checksums)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class TurnFilesWatch:
    """Watches the turns of one host's sessions."""

    def __init__(self, store: Store, host: SandboxHost) -> None:
        """Watch nothing yet.

        Args:
            store: keeps the lists.
            host: has the volumes.
        """
        self._lists = store.turn_files
        self._host = host
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._beginning: dict[tuple[str, str], asyncio.Lock] = {}
        self._workers = asyncio.Semaphore(WORKERS_MAX)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def __aenter__(self) -> "TurnFilesWatch":
        """Begin to look after turns, those of an earlier process with them."""
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go; the next process finds what is not settled."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def before(self, session: str, invocation_id: str) -> None:
        """Note how a session's files are, before the first call of a turn runs.

        Never fails a call: a list that cannot be made is left out.
        """
        key = (session, invocation_id)
        if key in self._turns:
            return
        lock = self._beginning.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if key not in self._turns:
                    await self._end_others(key)
                    await self._begin(key)
        except Exception:
            log.exception("the files of %s are not listed", session)
        finally:
            self._beginning.pop(key, None)

    def after(self, session: str, invocation_id: str) -> None:
        """Have the list brought up to date, since a call has ended."""
        turn = self._turns.get((session, invocation_id))
        if turn is not None:
            turn.due = True
            self._wake.set()

    async def _begin(self, key: tuple[str, str]) -> None:
        where = self._where(key)
        begun, known = await asyncio.gather(_begun(where, key[1]), self._lists.begin(*key))
        if known is not None and known.settled:
            return
        why_not = begun.why_not
        if known is not None and not begun.kept:
            why_not = known.incomplete or _BEGUN_LATE
        self._turns[key] = _turn(
            where, begun.files, why_not, due=begun.kept, written=known or TurnFiles()
        )

    async def _end_others(self, key: tuple[str, str]) -> None:
        """Settle the turns before this one, so that nothing of this one is in their lists."""
        earlier = [each for each in self._turns if each[0] == key[0] and each != key]
        running = await self._lists.running(earlier) if earlier else set[tuple[str, str]]()
        for each in earlier:
            if each not in running:
                await self._look(each, last=True)

    async def _keep(self) -> None:
        ask_at = adopt_at = 0.0
        while True:
            try:
                now = time.monotonic()
                self._wake.clear()
                if adopt_at <= now:
                    adopt_at = now + ADOPT_S
                    await self._adopt()
                ended = set[tuple[str, str]]()
                if ask_at <= now and self._turns:
                    ask_at = now + ENDED_S
                    known = list(self._turns)
                    ended = set(known) - await self._lists.running(known)
                looks: list[Awaitable[None]] = [
                    self._look(key, last=key in ended)
                    for key, turn in list(self._turns.items())
                    if turn.due or key in ended
                ]
                await asyncio.gather(*looks)
            except Exception:
                # The database may be away for a while.
                log.exception("listing the files of turns failed, and is tried again")
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDED_S):
                    await self._wake.wait()

    async def _adopt(self) -> None:
        """Take up turns that another process of this host, or another host, began."""
        for session, invocation_id in await self._lists.unsettled(self._host.name):
            key = (session, invocation_id)
            if key in self._turns or key in self._beginning:
                continue
            where = self._where(key)
            kept = await asyncio.to_thread(_kept, where, invocation_id)
            known = await self._lists.get(*key)
            if known is not None and not known.settled and key not in self._turns:
                why_not = known.incomplete or (_BEGUN_LATE if kept is None else None)
                self._turns[key] = _turn(where, kept, why_not, due=True, written=known)

    async def _look(self, key: tuple[str, str], *, last: bool) -> None:
        turn = self._turns[key]
        async with turn.lock, self._workers:
            if key not in self._turns:
                return
            turn.due = False
            found = replace(turn.written, settled=last, incomplete=turn.why_not)
            if turn.noted:
                try:
                    made = await _compared(turn, key[1])
                    found = replace(made, settled=last, incomplete=turn.why_not)
                except TooMuch as much:
                    found = replace(found, incomplete=f"Not all is listed: {much}.")
                except (OSError, EnvironmentUnavailable, ServiceError) as error:
                    log.warning("the files of %s cannot be listed: %s", key[0], error)
                    found = replace(found, incomplete=turn.why_not or _NOT_READ)
            if found != turn.written:
                try:
                    await self._lists.put(*key, found)
                except BaseException:
                    turn.due = True
                    raise
                turn.written = found
            if last:
                del self._turns[key]
                await asyncio.to_thread(_forget, turn.where, key[1])

    def _where(self, key: tuple[str, str]) -> SessionVolume:
        return self._host.volume(key[0])


def _turn(
    where: SessionVolume,
    files: Files | None,
    why_not: str | None,
    *,
    due: bool,
    written: TurnFiles,
) -> _Turn:
    noted = files is not None
    before = files if files is not None and len(files) <= REMEMBERED_MAX else None
    return _Turn(where, noted, before, why_not, due=due, written=written)


async def _compared(turn: _Turn, invocation_id: str) -> TurnFiles:
    before = turn.before
    if before is None:
        before = await asyncio.to_thread(_kept, turn.where, invocation_id)
    if before is None:
        raise FileNotFoundError("the note of the files when the turn began is gone")
    return await compare(turn.where, before, await turn.where.scan(), turn.sums)


async def _begun(where: SessionVolume, invocation_id: str) -> _Begun:
    """What was kept of a turn's beginning; else that is now, which is kept for other processes."""
    kept = await asyncio.to_thread(_kept, where, invocation_id)
    if kept is not None:
        return _Begun(kept, kept=True)
    try:
        files = await where.scan()
    except TooMuch as much:
        return _Begun(why_not=f"Not listed: {much}.")
    except EnvironmentUnavailable as error:
        return _Begun(why_not=f"Not listed: {error}.")
    await asyncio.to_thread(_keep, where, invocation_id, files)
    return _Begun(files)


def _place(where: SessionVolume, invocation_id: str) -> Path:
    name = hashlib.sha256(invocation_id.encode()).hexdigest()[:32]
    return beside(where.archives) / f"turn-{name}.json"


def _keep(where: SessionVolume, invocation_id: str, files: Files) -> None:
    place = _place(where, invocation_id)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = place.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(files))
    fresh.replace(place)


def _kept(where: SessionVolume, invocation_id: str) -> Files | None:
    """What was kept of a turn's beginning."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        values = json.loads(_place(where, invocation_id).read_text())
        return {path: tuple(signature) for path, signature in values.items()}
    return None


def _forget(where: SessionVolume, invocation_id: str) -> None:
    _place(where, invocation_id).unlink(missing_ok=True)
