"""The Docker Engine provider: a container for each session's environment, the same agentd inside.

Speaks the Engine API, so podman's compatible socket serves too. The engine must run on the sandbox
host's machine and as root: session volumes are directories that it mounts, and agentd's socket is
reached through one. For each container there is a directory
`<data_dir>/run/containers/<name>` that only we can enter, with `agentd` (its files, mounted
read-only), `control` (where the container's first process binds the socket) and `proxy` (where the
egress proxy listens, mounted read-only).
"""

import asyncio
import hashlib
import importlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from environments import sockets
from environments.bubblewrap_profile import (
    AGENTD_DIR,
    CONTAINER_FILES,
    PROXY_DIR,
    PROXY_SOCKET,
    SHM_BYTES,
    Mount,
    agentd_config,
    agentd_files,
    base_variables,
    user_files,
)
from environments.channel import AgentChannel
from environments.docker_image import calls_of, ensure_image
from environments.egress import EgressProxy
from environments.operator_resolver import Resolver
from environments.provider import Liveness, Reference, Started, check_mounts
from environments.volumes import Volumes
from environments.way_out import WayOut
from store import MapSource

log = logging.getLogger(__name__)

#: A container is ready after half a second; a busy engine takes longer.
START_S = 60.0
#: Seconds between looks whether agentd answers yet.
LOOK_S = 0.02
#: Whose container it is.
OWNER_LABEL = "everloop.owner"
NAME_LABEL = "everloop.environment"
#: What a container's complaint gives to a message.
COMPLAINT_CHARACTERS = 2000
#: agentd itself needs descriptors for its callers, beside what a command may open.
AGENTD_FILES_MAX = 4096
#: Pauses before a container is removed again: an engine refuses one that is just ending by itself.
REMOVE_PAUSES_S = (0.1, 0.5, 2.0, None)
#: Of the scheduler, as the kernel has it by default.
CPU_PERIOD_US = 100_000
#: The first process and agentd.
OWN_PROCESSES = 2

_CONTROL_DIR = "/run/everloop"
_COMMAND = (
    "python3",
    "-SsEB",
    "-c",
    f"import sys; sys.path.insert(0, {AGENTD_DIR!r}); "
    "from environments.agentd_container import main; main()",
)


class Docker:
    """Starts, finds and ends containers of one data directory."""

    name = "docker"

    def __init__(
        self,
        data_dir: Path,
        *,
        engine: str,
        image: str,
        volumes_dir: Path | None = None,
        proxy: EgressProxy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            data_dir: this owner's alone; it is made when it is first needed.
            engine: the Engine API's URL.
            image: runs environments that ask for none; it must have bash and Python 3.9 or newer.
            volumes_dir: holds sessions' files, maybe those of other hosts too; in `data_dir` when
                omitted.
            proxy: the way to the network; without it no container has any.
            resolver: what stands here for access points and subnets; nothing when omitted.
        """
        self._run = data_dir / "run" / "containers"
        self._resolver = resolver or Resolver.of(MapSource(None))
        self._way_out = WayOut(proxy, self._resolver)
        self._volumes = Volumes(volumes_dir or data_dir / "volumes")
        self._engine = engine
        self._image = image
        self._owner = hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:24]
        self._client: Any = None

    def described(self) -> dict[str, str]:
        """What bounds containers, for people."""
        return {
            "memory, processes, processor": "the container's control group",
            "disk": "measured",
            "host user": "one for each session",
        }

    async def probe(self) -> None:
        """Find out whether the engine answers and has the image.

        Raises:
            EnvironmentUnavailable: it does not; the message says why and how to mend it.
        """
        told = await self._ask(self._docker().system.info())
        if any("rootless" in each for each in told.get("SecurityOptions") or ()):
            raise EnvironmentUnavailable(
                f"the container engine at {self._engine} runs rootless; agentd's socket would be "
                "in the hands of the commands. Use an engine that runs as root, or bubblewrap"
            )
        await ensure_image(self._docker(), self._image, calls_of(self._engine))

    async def start(self, session: str, spec: EnvironmentSpec, *, generation: int) -> Started:
        """Start a container on the session's volume. See `provider.EnvironmentProvider.start`."""
        check_mounts(spec)
        shares = self._resolver.shares(spec)
        await self.probe()
        image = spec.image or self._image
        await ensure_image(self._docker(), image, calls_of(self._engine))
        digest = hashlib.sha256(f"{self._owner} {session}".encode()).hexdigest()[:24]
        name = f"everloop-{digest}-{generation}"
        await self._remove(name)
        volume, user = self._volumes.ensure(session)
        directory = self._prepare(name, spec.mount, user)
        mounts = [Mount(volume, spec.mount), *shares]
        if self._way_out.wanted(spec):
            mounts.append(Mount(directory / "proxy", PROXY_DIR, read_only=True))
        config = self._container(name, image, spec, mounts, user, directory)
        try:
            if self._way_out.wanted(spec):
                await self._way_out.open(name, directory / "proxy" / "s", spec)
            container = await self._ask(self._docker().containers.create(config, name=name))
            await self._ask(container.start())
            info = await self._ready(name, directory)
        except (EnvironmentUnavailable, ConnectionError, TimeoutError) as error:
            complaint = await self._complaint(name)
            await self._remove(name)
            raise EnvironmentUnavailable(
                f"the container did not start: {error}{complaint}"
            ) from None
        except BaseException:
            await asyncio.shield(self._remove(name))
            raise
        reference: Reference = {"name": name, "container": str(container.id)}
        return Started({**reference, **self._way_out.remembered(spec)}, info)

    def connect(self, reference: Reference) -> AgentChannel:
        """A channel to a running container; it connects when it is used."""
        path = self._directory(str(reference["name"])) / "control" / "s"
        return AgentChannel(lambda: sockets.connect(path))

    async def status(self, reference: Reference) -> Liveness:
        """Whether a container runs; unknown when the engine does not answer."""
        try:
            shown = await self._show(str(reference["container"]))
        except EnvironmentUnavailable:
            return Liveness.UNKNOWN
        running = shown is not None and shown["State"]["Running"]
        return Liveness.RUNNING if running else Liveness.GONE

    async def stop(self, reference: Reference) -> None:
        """End a container at once. Its volume stays. Idempotent."""
        await self._remove(str(reference["name"]))

    def volume(self, session: str) -> tuple[Path, int]:
        """See `provider.LocalVolumes.volume`."""
        return self._volumes.ensure(session)

    def delete_named(self, name: str) -> None:
        """See `provider.NamesVolumes.delete_named`."""
        self._volumes.delete_named(name)

    def used_bytes(self, session: str) -> int | None:
        """What a session's files take on the disk. Blocks."""
        return self._volumes.used_bytes(session)

    async def delete(self, session: str) -> None:
        """Remove a session's volume; its container has been stopped. Idempotent."""
        await asyncio.to_thread(self._volumes.delete, session)

    async def stop_orphans(self, known: Sequence[Reference]) -> int:
        """End every container of this data directory that is not among `known`.

        Those that are get their way to the network back, which ended with the last host process.
        """
        for reference in known:
            name = str(reference["name"])
            path = self._directory(name) / "proxy" / "s"
            if path.parent.exists():
                await self._way_out.reopen(name, path, reference)
        names = {str(reference.get("name")) for reference in known}
        label = f"{OWNER_LABEL}={self._owner}"
        try:
            found = await self._ask(
                self._docker().containers.list(all=True, filters=f'{{"label": ["{label}"]}}')
            )
        except EnvironmentUnavailable as error:
            log.warning("containers without a record cannot be looked for: %s", error)
            return 0
        count = 0
        for container in found:
            name = str(container["Labels"][NAME_LABEL])
            if name not in names:
                log.warning("ending a container without a record: %s", name)
                await self._remove(name)
                count += 1
        return count

    async def close(self) -> None:
        """Let go of the engine."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _docker(self) -> Any:
        if self._client is None:
            try:
                aiodocker: Any = importlib.import_module("aiodocker")
            except ImportError as error:
                raise EnvironmentUnavailable(
                    "containers need the extra: pip install 'everloop-server[docker]'"
                ) from error
            self._client = aiodocker.Docker(url=self._engine)
        return self._client

    async def _ask(self, call: Any, *, fine: int | None = None) -> Any:
        return await calls_of(self._engine).ask(call, fine=fine)

    async def _show(self, name: str) -> Any:
        """What the engine knows of a container; None when there is none."""
        return await self._ask(self._docker().containers.container(name).show(), fine=404)

    async def _remove(self, name: str) -> None:
        for pause in REMOVE_PAUSES_S:
            if await self._show(name) is None:
                break
            container = self._docker().containers.container(name)
            try:
                await self._ask(container.delete(force=True, v=True))
                break
            except EnvironmentUnavailable as error:
                if pause is None:
                    raise
                log.info("removing %s is tried again: %s", name, error)
                await asyncio.sleep(pause)
        await self._way_out.close(name)
        shutil.rmtree(self._directory(name), ignore_errors=True)

    async def _ready(self, name: str, directory: Path) -> str:
        """Wait until agentd answers; its boot id."""
        channel = AgentChannel(lambda: sockets.connect(directory / "control" / "s"))
        async with asyncio.timeout(START_S):
            while True:
                try:
                    return (await channel.info()).boot_id
                except ConnectionError:
                    shown = await self._show(name)
                    if shown is None or shown["State"]["Status"] in ("exited", "dead"):
                        raise
                await asyncio.sleep(LOOK_S)

    async def _complaint(self, name: str) -> str:
        try:
            container = self._docker().containers.container(name)
            said = "".join(await self._ask(container.log(stdout=True, stderr=True)))
        except EnvironmentUnavailable:
            return ""
        return f": {said.strip()[-COMPLAINT_CHARACTERS:]}" if said.strip() else ""

    def _directory(self, name: str) -> Path:
        return self._run / Path(name).name

    def _prepare(self, name: str, home: str, user: int) -> Path:
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = self._directory(name)
        compiled = directory / "agentd" / "environments" / "__pycache__"
        compiled.mkdir(parents=True)
        agentd = agentd_files(CONTAINER_FILES)
        for name, content in agentd.items():
            (directory / "agentd" / name).write_bytes(content)
        for file, text in user_files(user, home).items():
            (directory / file).write_text(text)
        (directory / "control").mkdir()
        (directory / "proxy").mkdir()
        # Entered by the session's own user, who may read and not write.
        entered = (directory / "agentd", compiled.parent, compiled)
        for path in (*entered, directory / "control", directory / "proxy"):
            path.chmod(0o755)
        for name in (*(f"agentd/{each}" for each in agentd), "passwd", "group"):
            (directory / name).chmod(0o644)
        return directory

    def _container(
        self,
        name: str,
        image: str,
        spec: EnvironmentSpec,
        mounts: Sequence[Mount],
        user: int,
        directory: Path,
    ) -> dict[str, Any]:
        """What the Engine API's ContainerCreate is sent."""
        limits = spec.limits
        variables = {
            **base_variables(spec.mount),
            "AGENTD_CONFIG": agentd_config(
                spec, proxy=PROXY_SOCKET if self._way_out.wanted(spec) else None
            ),
            "AGENTD_SOCKET": f"{_CONTROL_DIR}/s",
            "AGENTD_USER": str(user),
        }
        files = max(limits.open_files, AGENTD_FILES_MAX)
        processes = limits.processes + OWN_PROCESSES
        # Files in memory are counted with what commands take.
        memory = limits.memory_bytes + limits.tmp_bytes + SHM_BYTES
        return {
            "Image": image,
            "Hostname": "sandbox",
            "User": "0:0",
            "Entrypoint": list(_COMMAND),
            "Cmd": [],
            "WorkingDir": spec.mount,
            "Env": [f"{key}={value}" for key, value in variables.items()],
            "Labels": {OWNER_LABEL: self._owner, NAME_LABEL: name},
            "HostConfig": {
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                # What becoming the session's user takes; both are gone with root.
                "CapDrop": ["ALL"],
                "CapAdd": ["SETUID", "SETGID"],
                "SecurityOpt": ["no-new-privileges"],
                "Memory": memory,
                "MemorySwap": memory,
                "CpuPeriod": CPU_PERIOD_US,
                "CpuQuota": limits.cpu_percent * CPU_PERIOD_US // 100,
                "PidsLimit": processes,
                "ShmSize": SHM_BYTES,
                "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={limits.tmp_bytes}"},
                "Ulimits": [
                    {"Name": "nofile", "Soft": files, "Hard": files},
                    {"Name": "nproc", "Soft": processes, "Hard": processes},
                    {"Name": "fsize", "Soft": limits.file_bytes, "Hard": limits.file_bytes},
                    {"Name": "core", "Soft": 0, "Hard": 0},
                ],
                "Mounts": [
                    {
                        "Type": "bind",
                        "Source": str(mount.source),
                        "Target": mount.path,
                        "ReadOnly": mount.read_only,
                    }
                    for mount in (
                        *mounts,
                        Mount(directory / "agentd", AGENTD_DIR, read_only=True),
                        Mount(directory / "control", _CONTROL_DIR),
                        Mount(directory / "passwd", "/etc/passwd", read_only=True),
                        Mount(directory / "group", "/etc/group", read_only=True),
                    )
                ],
            },
        }
