"""The local provider: bubblewrap sandboxes, which outlive the process that started them.

For each running sandbox there is a directory `<data_dir>/run/sandboxes/<boot of the
machine>/<name>` that only we can enter, with
- `s`, the socket that agentd listens on, bound here, so that nothing inside can put another in its
  place,
- `proxy/s`, the egress proxy's socket,
- `info`, what bwrap says of its child,
- `log`, what bwrap and agentd complain of,
- `held`, the control groups and the volume that are let go of at its end.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from contracts.sandbox_settings import SandboxSettings
from environments import bubblewrap_probe, control_groups, sockets
from environments.bubblewrap_profile import (
    AGENTD_COMMAND,
    PROXY_DIR,
    SHM_BYTES,
    Descriptors,
    Inside,
    Mount,
    arguments,
    as_root,
    gathered,
    in_groups,
    inside_files,
)
from environments.channel import AgentChannel
from environments.egress import EgressProxy
from environments.operator_resolver import Resolver
from environments.processes import ProcessName, alive, kill, machine_boot, start_time, started_at
from environments.provider import Liveness, Reference, Started, check_mounts
from environments.volumes import FIRST_USER, Volumes
from environments.way_out import WayOut
from store import MapSource

log = logging.getLogger(__name__)

#: Ready takes 0.1 s on a quiet machine and 0.5 s on a busy one.
START_S = 20.0
#: A sandbox is gone 2 ms after KILL; a process in the midst of disk I/O takes longer.
KILL_S = 10.0
#: What of bwrap's or agentd's complaint goes into a message.
COMPLAINT_BYTES = 2000
#: A sandbox process is younger than its directory, by less than this even on a stalled machine.
YOUNGER_S = 60.0

#: In bwrap's process, descriptors to hand down start here; their originals are above `_OWN_FD`.
_HANDED_FD, _OWN_FD = 100, 200


class Bubblewrap:
    """Starts, finds and ends sandboxes below one data directory."""

    name = "bubblewrap"

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: SandboxSettings | None = None,
        proxy: EgressProxy | None = None,
        operator: MapSource | None = None,
        volumes_dir: Path | None = None,
    ) -> None:
        """Own nothing yet.

        Args:
            data_dir: this owner's alone; it is made when it is first needed.
            settings: what sandboxes may use and reach.
            proxy: their way to the network; without it none has any.
            operator: what stands here for access points, images and subnets.
            volumes_dir: holds sessions' files, maybe those of other hosts too; in `data_dir` when
                omitted.
        """
        settings = settings or SandboxSettings()
        self._run = data_dir / "run" / "sandboxes" / machine_boot()[:8]
        images = settings.limits.disk_bytes if settings.volume_images else None
        self._volumes = Volumes(volumes_dir or data_dir / "volumes", image_bytes=images)
        self._resolver = Resolver(settings, operator or MapSource(None))
        self._way_out = WayOut(proxy, self._resolver)
        self._owner = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:12]
        self._groups, self._why_no_groups = (
            control_groups.detect() if settings.cgroups else (None, "off")
        )
        self._images = settings.volume_images
        self._probe: asyncio.Task[None] | None = None
        self._children: set[int] = set()

    def described(self) -> dict[str, str]:
        """What bounds sandboxes here, for people."""
        root = os.geteuid() == 0
        return {
            "memory, processes, processor": (
                f"resource limits and a watchdog ({self._why_no_groups})"
                if self._groups is None
                else self._groups.described
            ),
            "disk": "a disk image for each session" if self._images else "measured",
            "host user": "one for each session" if root else "shared by all sessions",
        }

    async def probe(self) -> None:
        """Find out, once, whether sandboxes can run here.

        Raises:
            EnvironmentUnavailable: they cannot; the message says why and how to mend it.
        """
        if self._probe is None:
            self._probe = asyncio.create_task(self._try())
        await asyncio.shield(self._probe)

    async def start(self, session: str, spec: EnvironmentSpec, *, generation: int) -> Started:
        """Start a sandbox on the session's volume. See `provider.EnvironmentProvider.start`."""
        await self.probe()
        check_mounts(spec)
        name = f"{hashlib.sha256(session.encode()).hexdigest()[:24]}-{generation}"
        directory = self._run / name
        await self._clear(directory)
        self._enter(directory)
        try:
            await self._launch(directory, session, spec)
            async with asyncio.timeout(START_S):
                info = await AgentChannel(lambda: sockets.connect(directory / "s")).info()
            process = _child(directory)
            if process is None:
                raise ConnectionError("bwrap did not tell its child")
        except (ConnectionError, TimeoutError) as error:
            complaint = _complaint(directory) or str(error)
            await self._clear(directory)
            raise EnvironmentUnavailable(f"the sandbox did not start: {complaint}") from None
        except BaseException:
            await asyncio.shield(self._clear(directory))
            raise
        reference: Reference = {
            "name": name,
            "pid": process.pid,
            "start_time": process.start_time,
            "machine": process.machine,
            **self._way_out.remembered(spec),
        }
        return Started(reference, info.boot_id)

    async def _launch(self, directory: Path, session: str, spec: EnvironmentSpec) -> None:
        """Prepare what a sandbox is given, and start it."""
        shares, image = self._resolver.shares(spec), self._resolver.image(spec)
        volume, user = await asyncio.to_thread(self._volumes.ensure, session)
        held = {"volume": str(volume), "groups": list[str]()}
        mounts = [Mount(volume, spec.mount), *shares]
        proxied = self._way_out.wanted(spec)
        if proxied:
            mounts.append(Mount(directory / "proxy", PROXY_DIR, read_only=True))
            # The session's user passes through it to the socket; nobody else comes this far.
            (directory / "proxy").mkdir()
            os.chmod(directory / "proxy", 0o755)
            await self._way_out.open(directory.name, directory / "proxy" / "s", spec)
        groups: list[Path] = []
        if self._groups is not None:
            shared = spec.limits.tmp_bytes + SHM_BYTES
            try:
                name = f"{self._owner}-{directory.name}"
                groups = self._groups.make(name, spec.limits, shared)
            except OSError as error:
                raise EnvironmentUnavailable(f"control groups cannot be made: {error}") from None
            held["groups"] = [str(group) for group in groups]
        (directory / "held").write_text(json.dumps(held))
        inside = Inside(tuple(mounts), image, proxied)
        self._spawn(directory, spec, inside, user, AGENTD_COMMAND, groups)

    def connect(self, reference: Reference) -> AgentChannel:
        """A channel to a running sandbox; it connects when it is used."""
        directory = self._directory(reference)
        groups = _held(directory)[1]
        return AgentChannel(
            lambda: sockets.connect(directory / "s"),
            memory_kills=lambda: control_groups.memory_kills(groups),
        )

    def used_bytes(self, session: str) -> int | None:
        """What a session's files take on the disk; None where a disk image bounds them. Blocks."""
        return self._volumes.used_bytes(session)

    async def status(self, reference: Reference) -> Liveness:
        """Whether a sandbox runs; a local one is never unknown."""
        return Liveness.RUNNING if alive(_process(reference)) else Liveness.GONE

    async def stop(self, reference: Reference) -> None:
        """End a sandbox at once. Its volume stays. Idempotent."""
        await asyncio.to_thread(kill, _process(reference), wait_s=KILL_S)
        await self._clear(self._directory(reference))

    async def delete(self, session: str) -> None:
        """Remove a session's volume; its sandbox has been stopped. Idempotent."""
        await asyncio.to_thread(self._volumes.delete, session)

    def delete_named(self, name: str) -> None:
        """See `provider.NamesVolumes.delete_named`."""
        self._volumes.delete_named(name)

    def volume(self, session: str) -> tuple[Path, int]:
        """See `provider.LocalVolumes.volume`."""
        return self._volumes.ensure(session)

    async def stop_orphans(self, known: Sequence[Reference]) -> int:
        """End every sandbox of this data directory that is not among `known`.

        Those that are get their way to the network back, which ended with the last host process.
        Directories of an earlier boot of the machine have no sandboxes and are removed.
        """
        for reference in known:
            directory = self._directory(reference)
            if (directory / "proxy").exists():
                await self._way_out.reopen(directory.name, directory / "proxy" / "s", reference)
        names = {reference.get("name") for reference in known}
        count = 0
        if not self._run.parent.exists():
            return 0
        for boot in self._run.parent.iterdir():
            if boot != self._run:
                shutil.rmtree(boot)
        for directory in self._run.iterdir() if self._run.exists() else ():
            if directory.name not in names:
                log.warning("ending a sandbox without a record: %s", directory.name)
                await self._clear(directory)
                count += 1
        return count

    async def close(self) -> None:
        """Nothing is held."""

    def _enter(self, directory: Path) -> None:
        """Make a directory that only we can enter; parents made by `mkdir` would be open."""
        self._run.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _directory(self, reference: Reference) -> Path:
        return self._run / Path(str(reference["name"])).name

    async def _clear(self, directory: Path) -> None:
        """End what runs from a directory, whether or not it has a record, and remove it."""
        if directory.exists():
            process = _child(directory)
            if process is not None:
                await asyncio.to_thread(kill, process, wait_s=KILL_S)
            await self._way_out.close(directory.name)
            volume, groups = _held(directory)
            await asyncio.to_thread(control_groups.remove, groups)
            if volume is not None:
                await asyncio.to_thread(self._volumes.release, volume)
            # Another call may have come to this end meanwhile.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(directory)
        self._reap()

    async def _try(self) -> None:
        """Run a program that does nothing in a sandbox like every other."""
        bubblewrap_probe.require_programs()
        directory = self._run / f"probe-{os.getpid()}"
        volume = directory / "volume"
        self._enter(volume)
        if os.geteuid() == 0:
            os.chown(volume, FIRST_USER, FIRST_USER)
        try:
            command = ("python3", "-SsE", "-c", "")
            spec = EnvironmentSpec()
            inside = Inside((Mount(volume, spec.mount),))
            child = self._spawn(directory, spec, inside, FIRST_USER, command, ())
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            self._children.discard(child)
            if status != 0:
                raise EnvironmentUnavailable(bubblewrap_probe.explain(_complaint(directory)))
        finally:
            shutil.rmtree(directory)

    def _spawn(
        self,
        directory: Path,
        spec: EnvironmentSpec,
        inside: Inside,
        user: int,
        command: Sequence[str],
        groups: Sequence[Path],
    ) -> int:
        """Start bwrap as a process of its own session; returns its id."""
        root = os.geteuid() == 0
        files = inside_files(spec.mount)
        own: list[int] = []

        def hand(fd: int) -> int:
            """Keep `fd` out of the range that is handed down; returns its number in bwrap."""
            own.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OWN_FD))
            os.close(fd)
            return _HANDED_FD + len(own) - 1

        try:
            descriptors = Descriptors(
                listener=hand(sockets.listen(directory / "s").detach()),
                seccomp=hand(_memory_file(bubblewrap_probe.system_call_filter())),
                info=hand(os.open(directory / "info", os.O_WRONLY | os.O_CREAT, 0o600)),
                files={path: hand(_memory_file(data)) for path, data in files.items()},
            )
            seen = inside.moved(gathered(inside.sources)) if root else inside
            words = arguments(spec, seen, descriptors, inside.image)
            # By descriptor, because the sandbox can read the command line of its first process.
            words_fd = hand(_memory_file(b"".join(word.encode() + b"\0" for word in words)))
            argv = [shutil.which("bwrap") or "bwrap", "--args", str(words_fd), "--", *command]
            if root:
                argv = as_root(user, inside.sources, groups, argv)
            elif groups:
                argv = in_groups(groups, argv)
            complaints = hand(os.open(directory / "log", os.O_WRONLY | os.O_CREAT, 0o600))
            actions: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, own[complaints - _HANDED_FD], 1),
                (os.POSIX_SPAWN_DUP2, own[complaints - _HANDED_FD], 2),
                *((os.POSIX_SPAWN_DUP2, fd, _HANDED_FD + i) for i, fd in enumerate(own)),
            ]
            child = os.posix_spawn(argv[0], argv, {}, file_actions=actions, setsid=True)
        finally:
            for fd in own:
                os.close(fd)
        self._children.add(child)
        return child

    def _reap(self) -> None:
        """Let the kernel forget those bwrap processes that have ended."""
        for child in list(self._children):
            if os.waitpid(child, os.WNOHANG)[0]:
                self._children.discard(child)


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("everloop", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _process(reference: Reference) -> ProcessName:
    return ProcessName(
        int(reference["pid"]), int(reference["start_time"]), str(reference["machine"])
    )


def _child(directory: Path) -> ProcessName | None:
    """The first process of the sandbox that was started from a directory, while it runs."""
    try:
        pid = json.loads((directory / "info").read_bytes())["child-pid"]
    except (FileNotFoundError, ValueError):
        # bwrap had not come so far.
        return None
    start = start_time(pid)
    if start is None or not 0 <= started_at(start) - directory.stat().st_mtime + 1 < YOUNGER_S:
        return None
    return ProcessName(pid, start, machine_boot())


def _held(directory: Path) -> tuple[Path | None, list[Path]]:
    """The volume and the control groups of a sandbox, as far as it has come."""
    try:
        held = json.loads((directory / "held").read_bytes())
    except (FileNotFoundError, ValueError):
        return None, []
    return Path(held["volume"]), [Path(group) for group in held["groups"]]


def _complaint(directory: Path) -> str:
    if not (directory / "log").exists():
        return ""
    with open(directory / "log", "rb") as file:
        return file.read(COMPLAINT_BYTES).decode("utf-8", "replace").strip()
