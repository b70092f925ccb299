"""The owner of one machine's environments.

They are not children of an activity or a worker, and outlive this host too: after a restart it
adopts what still runs, by its records, and commands that ran all the while are joined again by
their ids.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from contracts.environment import (
    EnvironmentRecord,
    EnvironmentSpec,
    EnvironmentState,
    HostVolumes,
)
from contracts.errors import EnvironmentUnavailable, StaleAttempt
from contracts.sandbox_settings import SandboxSettings
from environments.asking import ask_to_end, confirms
from environments.bubblewrap import Bubblewrap
from environments.directory_lock import lock_directory
from environments.disk import DiskWatch
from environments.environment import Environment
from environments.expiry import Expiry
from environments.fork_files import ForkedFiles
from environments.lease import FILES_ELSEWHERE, Lease, claim_name, place_of
from environments.local_volume import WORKERS_MAX, volume_of
from environments.periodic import every
from environments.provider import (
    EnvironmentProvider,
    Liveness,
    MeasuresVolumes,
    NamesVolumes,
    Reference,
    SharesVolumes,
)
from environments.session_volume import SessionVolume
from environments.spec_digest import spec_digest
from store import Store

log = logging.getLogger(__name__)

#: A host that has not beaten for so long is taken for dead.
LEASE_S = 15.0
#: Three beats fit into a lease, so that one may fail.
BEAT_S = 5.0
#: Seconds between looks for environments that are due to be asked whether they are idle.
LOOK_S = 1.0
#: The longest time until an environment is asked again, however far its end is.
ASK_AGAIN_S = 30.0
#: Seconds that processes have to end when an environment is stopped.
STOP_GRACE_S = 5
#: Seconds that a predecessor on the same data directory has to end.
PREDECESSOR_S = 15.0


@dataclass
class _Slot:
    """What this host knows of a session's environment."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    record: EnvironmentRecord | None = None
    #: Whether the environment itself confirmed the record since this host started.
    confirmed: bool = False
    users: int = 0
    ask_at: float = 0.0
    #: Commands under way, by what ends each.
    in_use: set[Environment] = field(default_factory=set[Environment])


class SandboxHost:
    """Starts environments when they are needed and stops them when they are not."""

    def __init__(
        self,
        store: Store,
        *,
        data_dir: Path,
        host_id: str,
        provider: EnvironmentProvider | None = None,
        look_s: float = LOOK_S,
        settings: SandboxSettings | None = None,
        shares: HostVolumes | None = None,
    ) -> None:
        """Own nothing until it is entered.

        Args:
            store: keeps the records of environments.
            data_dir: holds volumes and sockets; at most one live host owns it.
            host_id: this machine's name in records and leases.
            provider: the kind of environment; bubblewrap when omitted.
            look_s: seconds between looks for idle environments.
            settings: what every environment may use, whatever is asked for; when omitted, what is
                asked for.
            shares: what others may know of its volumes; that they are its own when omitted.
        """
        self._settings = settings
        self._shares = shares or HostVolumes()
        self._lease = Lease(LEASE_S)
        self._records = store.environments
        self._provider = provider or Bubblewrap(data_dir)
        self._host = host_id
        self._lock_path = data_dir / "run" / "environments.lock"
        self._lock_fd: int | None = None
        self._place = ""
        self._look_s = look_s
        self._slots: dict[str, _Slot] = {}
        self._workers = asyncio.Semaphore(WORKERS_MAX)
        self._forks = ForkedFiles(self._records, self.volume)
        self._disk: DiskWatch | None = None
        bounds = settings or SandboxSettings()
        if isinstance(self._provider, MeasuresVolumes):
            self._disk = DiskWatch(self._provider.used_bytes, bounds.limits.disk_bytes)
        self._expiry = Expiry(self._records, self._provider, host_id, days=bounds.volume_days)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "SandboxHost":
        """Take over this host's environments, and begin to look after them.

        Raises:
            EnvironmentUnavailable: another live process owns the data directory, or has the name.
        """
        lock = await lock_directory(self._lock_path, PREDECESSOR_S)
        try:
            self._place = place_of(self._lock_path.parent)
            await claim_name(self._records, self._host, self._place, self._shares, LEASE_S)
        except BaseException:
            os.close(lock)
            raise
        self._lock_fd = lock
        # Sessions that were taken over before this have other records now, and none is after it.
        await self._renew()
        await self._adopt()
        self._tasks = [
            asyncio.create_task(every(BEAT_S, self._beat)),
            asyncio.create_task(every(self._look_s, self._look)),
            asyncio.create_task(every(self._look_s, self._look_at_disks)),
            asyncio.create_task(every(self._look_s, self._expire)),
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go. The environments run on, for the next host process to adopt."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._forks.close()
        with contextlib.suppress(Exception):
            # Without the database the lease runs out.
            await self._records.leave(self._host, self._place)
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        await self._provider.close()

    @asynccontextmanager
    async def use(self, session: str, spec: EnvironmentSpec) -> AsyncGenerator[Environment]:
        """A session's environment, started when none runs, and kept running while it is used.

        Raises:
            EnvironmentUnavailable: none can be had; the message says why and how to mend it.
            StaleAttempt: another host has taken the session over.
        """
        if self._settings is not None:
            spec = replace(spec, limits=self._settings.limits)
        slot = self._slots.setdefault(session, _Slot())
        slot.users += 1
        environment: Environment | None = None
        try:
            if self._lease.over:
                await self._beat()
            async with slot.lock:
                before = slot.record or await self._records.get(session)
                record, restarted = await self._ensure(slot, session, spec)
            environment = Environment(
                self, self._provider, record, restarted=restarted, spec=spec, before=before
            )
            if self._disk is not None:
                if self._disk.full(session) or self._disk.due(session):
                    await self._disk.look(session, used=True)
                environment.full_note = self._disk.note(session)
            slot.in_use.add(environment)
            yield environment
        finally:
            slot.users -= 1
            slot.ask_at = 0.0
            if environment is not None:
                slot.in_use.discard(environment)

    @property
    def name(self) -> str:
        """This host's name in records and leases."""
        return self._host

    @property
    def lost(self) -> asyncio.Event:
        """Set when another process has this host's name: this one must end, and touch nothing."""
        return self._lease.lost

    def running(self, session: str) -> Environment | None:
        """A session's environment, if one runs here as far as is known; none is started."""
        slot = self._slots.get(session)
        if slot is None or slot.record is None:
            return None
        return Environment(self, self._provider, slot.record, restarted=False)

    def volume(self, session: str, mount: str = EnvironmentSpec.mount) -> SessionVolume:
        """See `local_volume.volume_of`. The mount is no matter where no path is told or given."""
        return volume_of(self._provider, session, mount, self._workers)

    async def begin_files(self, session: str) -> None:
        """See that a fork has the files that it begins with. See `fork_files.ForkedFiles.begin`."""
        slot = self._slots.get(session)
        record = slot.record if slot and slot.record else await self._records.get(session)
        if record is not None and record.state is EnvironmentState.FORKED:
            async with self._slots.setdefault(session, _Slot()).lock:
                await self._forks.begin(await self._records.get(session))

    async def stop(
        self, session: str, *, grace_s: int = STOP_GRACE_S, generation: int | None = None
    ) -> None:
        """Stop a session's environment. Its files stay. Idempotent.

        Args:
            session: whose.
            grace_s: seconds that its processes have to end after TERM.
            generation: the only one that is stopped; any when None.
        """
        slot = self._slots.setdefault(session, _Slot())
        async with slot.lock:
            record = slot.record or await self._records.get(session)
            if record is not None and generation in (None, record.generation):
                await self._stop(slot, session, grace_s)

    async def stop_unused(self) -> None:
        """Stop the environments in which nothing runs; their files stay.

        For a host that is told to end: nobody would look after them until the next one comes.
        """
        await asyncio.gather(*(self._stop_unused(slot) for slot in self._slots.values()))

    async def _stop_unused(self, slot: _Slot) -> None:
        async with slot.lock:
            await self._stop_if_due(slot, leaving=True)

    async def end(self, record: EnvironmentRecord) -> None:
        """Kill an environment that does not answer, and record that it ended.

        Nothing happens when another has been started in its place.
        """
        slot = self._slots.setdefault(record.session, _Slot())
        async with slot.lock:
            if slot.record is not None and slot.record.boot_id == record.boot_id:
                await self._stop(slot, record.session, 0)

    async def delete(self, session: str) -> None:
        """Stop a session's environment, and remove its files and its record. Idempotent."""
        slot = self._slots.setdefault(session, _Slot())
        async with slot.lock:
            await self._stop(slot, session, 0)
            await self._forks.settle(session)
            await self._provider.delete(session)
            await self._records.delete(session)
            slot.record = None

    async def replace_files(
        self,
        session: str,
        prepare: Callable[[], Awaitable[None]],
        replace_them: Callable[[], Awaitable[None]],
    ) -> None:
        """Stop a session's environment and have its files replaced; the next start tells of it.

        `prepare` may fail and changes nothing; `replace_them` puts other files in their place.
        """
        slot = self._slots.setdefault(session, _Slot())
        async with slot.lock:
            await self._stop(slot, session, STOP_GRACE_S)
            await self._records.check_wanted(session)
            await prepare()
            # The record first: a host that was overtaken replaces nothing.
            await self._records.mark_restored(session, self._host, self._provider.name)
            await replace_them()

    async def _ensure(
        self, slot: _Slot, session: str, spec: EnvironmentSpec
    ) -> tuple[EnvironmentRecord, bool]:
        record = slot.record or await self._records.get(session)
        if record is not None:
            await self._require_ours(record)
        if record is not None and record.state is EnvironmentState.RUNNING:
            if await self._still_serves(slot, record, spec):
                slot.record = record
                return record, False
        slot.record = None
        if record is not None and record.state is EnvironmentState.EXPIRED:
            await self._provider.delete(session)
        slot.record = await self._start(session, spec, record)
        slot.confirmed = True
        return slot.record, record is not None and record.boot_id != ""

    async def _require_ours(self, record: EnvironmentRecord) -> None:
        if record.host == self._host:
            return
        if record.host in await self._records.alive():
            raise StaleAttempt(
                f"the session's environment runs on the sandbox host {record.host!r}"
            )
        raise EnvironmentUnavailable(FILES_ELSEWHERE.format(host=record.host))

    async def _still_serves(
        self, slot: _Slot, record: EnvironmentRecord, spec: EnvironmentSpec
    ) -> bool:
        """Whether a recorded environment runs and is what is asked for; else it is ended."""
        liveness = await self._provider.status(record.reference)
        if liveness is Liveness.UNKNOWN:
            raise EnvironmentUnavailable("whether the session's environment runs is not known now")
        if liveness is Liveness.RUNNING:
            slot.confirmed = slot.confirmed or await confirms(self._provider, record)
            fits = slot.users > 1 or record.reference.get("spec") == spec_digest(spec)
            if slot.confirmed and fits:
                return True
        await self._provider.stop(record.reference)
        return False

    async def _start(
        self, session: str, spec: EnvironmentSpec, last: EnvironmentRecord | None
    ) -> EnvironmentRecord:
        # Deleting comes through the same slot: this look cannot come too late.
        await self._records.check_wanted(session)
        await self._forks.begin(last)
        await self._provider.probe()
        generation = last.generation + 1 if last else 1
        claim = EnvironmentRecord(
            session=session,
            provider=self._provider.name,
            host=self._host,
            generation=generation,
            boot_id=last.boot_id if last else "",
            state=EnvironmentState.STOPPED,
            reference={},
        )
        # The claim comes first: whoever loses it has started nothing.
        await self._records.put(claim, expected_generation=last.generation if last else None)
        started = await self._provider.start(session, spec, generation=generation)
        reference: Reference = {
            **started.reference,
            "spec": spec_digest(spec),
            "idle_timeout_s": spec.idle_timeout_s,
            "max_lifetime_s": spec.max_lifetime_s,
        }
        record = replace(
            claim, boot_id=started.boot_id, state=EnvironmentState.RUNNING, reference=reference
        )
        try:
            await self._records.put(record, expected_generation=generation)
        except BaseException:
            await asyncio.shield(self._provider.stop(reference))
            raise
        return record

    async def _stop(self, slot: _Slot, session: str, grace_s: int) -> None:
        record = slot.record or await self._records.get(session)
        if record is None or record.state is not EnvironmentState.RUNNING:
            return
        if grace_s and await self._provider.status(record.reference) is Liveness.RUNNING:
            await ask_to_end(self._provider, record, grace_s)
        await self._provider.stop(record.reference)
        await self._mark_stopped(record)
        slot.record = None
        if self._disk is not None:
            self._disk.forget(session)

    async def _mark_stopped(self, record: EnvironmentRecord) -> None:
        stopped = replace(record, state=EnvironmentState.STOPPED)
        await self._records.put(stopped, expected_generation=record.generation)

    async def _adopt(self) -> None:
        running: list[Reference] = []
        for record in await self._records.on_host(self._host):
            if record.state is EnvironmentState.EXPIRED:
                await self._provider.delete(record.session)
            if record.state is not EnvironmentState.RUNNING:
                continue
            if await self._provider.status(record.reference) is Liveness.GONE:
                await self._mark_stopped(record)
            else:
                running.append(record.reference)
                self._slots[record.session] = _Slot(record=record)
        await self._provider.stop_orphans(running)
        if isinstance(self._provider, NamesVolumes):
            for volume in await self._records.left_volumes(self._host):
                await asyncio.to_thread(self._provider.delete_named, volume)
                await self._records.forget_left(self._host, volume)

    async def _renew(self) -> None:
        await self._lease.renew(self._records, self._host, self._place)

    async def _beat(self) -> None:
        """Keep the lease. After one that ran out, first end what others have taken over."""
        was_over = self._lease.over
        try:
            await self._renew()
        except BaseException:
            fenced = self._shares.id is None or isinstance(self._provider, SharesVolumes)
            if not fenced and self._lease.over:
                await self._end_all("its lease ran out and another host may go on with it")
            raise
        if was_over:
            await self._end_taken_over()

    async def _end_taken_over(self) -> None:
        ours = {each.session: each.generation for each in await self._records.on_host(self._host)}
        for session, slot in list(self._slots.items()):
            async with slot.lock:
                known = slot.record
                if known is not None and ours.get(session) != known.generation:
                    await self._abandon(slot, known, "another host has taken it over")

    async def _end_all(self, why: str) -> None:
        for slot in list(self._slots.values()):
            if slot.record is not None:
                await self._abandon(slot, slot.record, why)

    async def _abandon(self, slot: _Slot, record: EnvironmentRecord, why: str) -> None:
        """End an environment and leave its record to whoever has it now."""
        log.warning("ending the environment of %s: %s", record.session, why)
        await self._provider.stop(record.reference)
        slot.record, slot.confirmed = None, False

    async def _look(self) -> None:
        now = time.monotonic()
        for session, slot in list(self._slots.items()):
            if slot.users == 0 and not slot.lock.locked() and slot.ask_at <= now:
                if slot.record is None:
                    del self._slots[session]
                    continue
                async with slot.lock:
                    await self._stop_if_due(slot)

    async def _look_at_disks(self) -> None:
        """End what writes in sessions that take more of the disk than they may."""
        for session, slot in list(self._slots.items()):
            if self._disk is None or slot.record is None or not self._disk.due(session):
                continue
            was_full = self._disk.full(session)
            if not await self._disk.look(session, used=slot.users > 0):
                continue
            if slot.users == 0:
                async with slot.lock:
                    if slot.users == 0 and not was_full:
                        log.warning("%s is over its disk limit: its processes are ended", session)
                        await self._stop(slot, session, STOP_GRACE_S)
            elif not was_full:
                log.warning("%s is over its disk limit: its commands are ended", session)
                for environment in list(slot.in_use):
                    await environment.end_writers()

    async def _expire(self) -> None:
        async def remove(session: str) -> None:
            slot = self._slots.setdefault(session, _Slot())
            async with slot.lock:
                if slot.users == 0:
                    await self._expiry.remove(session)

        await self._expiry.sweep(remove)

    async def _stop_if_due(self, slot: _Slot, *, leaving: bool = False) -> None:
        record = slot.record
        # A call may have come while the lock was awaited.
        if slot.users or record is None:
            return
        try:
            info = await self._provider.connect(record.reference).info()
        except (ConnectionError, TimeoutError) as error:
            if await self._provider.status(record.reference) is not Liveness.UNKNOWN:
                log.warning("environment of %s does not answer: %s", record.session, error)
                await self._stop(slot, record.session, 0)
            return
        idle_left = int(record.reference["idle_timeout_s"]) - info.idle_s
        life_left = int(record.reference["max_lifetime_s"]) - info.uptime_s
        unused = leaving and info.processes == 0
        if info.running == 0 and (unused or min(idle_left, life_left) <= 0):
            log.info("stopping the environment of %s; its files stay", record.session)
            await self._stop(slot, record.session, STOP_GRACE_S)
        else:
            slot.ask_at = time.monotonic() + max(0.0, min(idle_left, life_left, ASK_AGAIN_S))
