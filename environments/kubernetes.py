"""The Kubernetes provider: a pod and a volume claim for each session, the same agentd inside.

Where the cluster has kubernetes-sigs/agent-sandbox, a Sandbox of its stands for the pod. What is
stopped is deleted; the claim stays until the session's data is deleted.
"""

import asyncio
import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from contracts.ids import volume_name
from environments import kubernetes_pod as objects
from environments import snapshots
from environments.channel import AgentChannel
from environments.egress import EgressProxy
from environments.egress_lanes import EgressLanes
from environments.kubernetes_api import LOOK_S, START_S, ClusterApi
from environments.kubernetes_exec import COMMAND
from environments.kubernetes_file_pods import FilePods
from environments.kubernetes_files import ClusterVolume
from environments.operator_resolver import Resolver
from environments.provider import Liveness, Reference, Started, check_mounts
from environments.shared_volumes import is_id
from environments.way_out import WayOut
from store import MapSource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterOptions:
    """Where environments go.

    Attributes:
        namespace: theirs alone, so that quotas and policies can be set for it.
        image: runs environments that ask for none.
        volume_size: of a session's volume, as Kubernetes writes quantities.
        storage_class: of the volumes; None for the cluster's default.
        runtime_class: as `gvisor` or `kata`; None for the cluster's default.
        kubeconfig: a file; None for the pod's own service account, else `~/.kube/config`.
    """

    namespace: str
    image: str
    volume_size: str = "1Gi"
    storage_class: str | None = None
    runtime_class: str | None = None
    kubeconfig: str | None = None


class Kubernetes:
    """Starts, finds and ends pods of one owner in one namespace."""

    name = "kubernetes"

    def __init__(
        self,
        owner: str,
        options: ClusterOptions,
        data_dir: Path,
        *,
        volumes_dir: Path | None = None,
        proxy: EgressProxy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            owner: names this sandbox host; pods of other owners are left alone.
            options: where environments go.
            data_dir: this owner's alone; it is made when it is first needed.
            volumes_dir: has snapshots, maybe those of other hosts too; in `data_dir` when omitted.
            proxy: the way to the network; without it no pod has any.
            resolver: what stands here for access points and subnets; nothing when omitted.
        """
        self._run = data_dir / "run" / "pods"
        self._resolver = resolver or Resolver.of(MapSource(None))
        self._way_out = WayOut(proxy, self._resolver)
        self._lanes = EgressLanes()
        self._owner = hashlib.sha256(owner.encode()).hexdigest()[:24]
        self._options = options
        self._api = ClusterApi(options.namespace, options.kubeconfig)
        self._ready = asyncio.Lock()
        self._config_map: str | None = None
        self._volumes = volumes_dir or data_dir / "volumes"
        self._file_pods = FilePods(self._api, self._make_file_pod)

    def described(self) -> dict[str, str]:
        """What bounds pods, for people."""
        return {
            "memory, processor": "the pod's limits",
            "processes": "a limit of the session's user id",
            "disk": f"a claim of {self._options.volume_size} for each session",
            "network": "a NetworkPolicy, where the cluster's network plugin enforces it",
            "host user": "one for each session",
        }

    async def probe(self) -> None:
        """Find out whether the cluster answers, and bring there what every environment needs.

        Raises:
            EnvironmentUnavailable: it does not answer, or refuses; the message says why.
        """
        async with self._ready:
            if self._config_map is not None:
                return
            await self._api.ensure(objects.no_network(self._owner))
            files = objects.agentd_files(self._owner)
            await self._api.ensure(files)
            self._config_map = str(files["metadata"]["name"])

    async def start(self, session: str, spec: EnvironmentSpec, *, generation: int) -> Started:
        """Start a pod on the session's volume. See `provider.EnvironmentProvider.start`."""
        check_mounts(spec)
        shares = self._resolver.cluster_shares(spec)
        await self.probe()
        claim = _claim(session)
        async with self._file_pods.lock(claim):
            await self._ensure_claim(claim)
            # The mount, and with it the home directory, may have changed since the last start.
            user = self._user(session)
            files = objects.session_files(claim, self._owner, user=user, home=spec.mount)
            await self._api.replace_config_map(files)
            name = f"{claim}-{generation}"
            # The volume is for one pod: not for one of a host that died, nor for one for files.
            await self._file_pods.end_all(claim)
            await self._remove(name)
            assert self._config_map is not None
            pod_spec = objects.pod_spec(
                spec,
                image=spec.image or self._options.image,
                claim=claim,
                config_map=self._config_map,
                user=user,
                runtime_class=self._options.runtime_class,
                way_out=self._way_out.wanted(spec),
                shares=shares,
            )
            reference: Reference = {"name": name, **self._way_out.remembered(spec)}
            try:
                await self._api.create_pod(name, self._owner, claim, pod_spec)
                boot_id = await self._wait_ready(reference)
                if self._way_out.wanted(spec):
                    await self._carry(reference)
                    await self._lanes.first(name)
            except BaseException:
                await asyncio.shield(self._remove(name))
                raise
        return Started(reference, boot_id)

    def connect(self, reference: Reference) -> AgentChannel:
        """A channel to a running pod; it connects when it is used."""
        return AgentChannel(lambda: self._api.exec(str(reference["name"]), COMMAND))

    async def status(self, reference: Reference) -> Liveness:
        """Whether a pod runs; unknown when the API server does not answer."""
        try:
            pod = await self._api.pod(str(reference["name"]))
        except EnvironmentUnavailable:
            return Liveness.UNKNOWN
        if pod is None or pod.status.phase in ("Succeeded", "Failed"):
            return Liveness.GONE
        # A node that is away may still run it.
        return Liveness.UNKNOWN if pod.status.phase == "Unknown" else Liveness.RUNNING

    async def stop(self, reference: Reference) -> None:
        """End a pod at once. Its volume stays. Idempotent."""
        await self._remove(str(reference["name"]))

    async def delete(self, session: str) -> None:
        """Remove a session's volume; its pod has been stopped. Idempotent."""
        claim = _claim(session)
        async with self._file_pods.lock(claim):
            await self._file_pods.end_all(claim)
            await self._api.delete_claim(claim)
            await self._api.delete_config_map(claim)
        await asyncio.to_thread(snapshots.remove_all, self._archives(session))

    async def volumes_id(self) -> str:
        """See `provider.SharesVolumes.volumes_id`."""
        await self._api.ensure(objects.volumes_id(self._owner, uuid.uuid4().hex))
        found = await self._api.config_value(objects.VOLUMES, "id")
        if not is_id(found):
            raise EnvironmentUnavailable(f"the ConfigMap {objects.VOLUMES} does not hold an id")
        return found

    def distant(self, session: str, mount: str) -> ClusterVolume:
        """See `provider.DistantVolumes.distant`."""
        return ClusterVolume(
            self._api,
            self._file_pods,
            claim=_claim(session),
            user=self._user(session),
            mount=mount,
            archives=self._archives(session),
        )

    def _user(self, session: str) -> int:
        return objects.session_user(self._options.namespace, session)

    async def stop_orphans(self, known: Sequence[Reference]) -> int:
        """End every pod of this owner that is not among `known`.

        Those that are get their way to the network back, which ended with the last host process.
        """
        for reference in known:
            await self._carry(reference)
        names = {str(reference.get("name")) for reference in known}
        try:
            found = await self._api.names(f"{objects.OWNER_LABEL}={self._owner}")
        except EnvironmentUnavailable as error:
            log.warning("pods without a record cannot be looked for: %s", error)
            return 0
        lost = [name for name in found if name not in names]
        for name in lost:
            log.warning("ending a pod without a record: %s", name)
            await self._remove(name)
        return len(lost)

    async def close(self) -> None:
        """Let go of the API server."""
        await self._lanes.drop_all()
        await self._file_pods.close()
        await self._api.close()
        self._config_map = None

    async def _carry(self, reference: Reference) -> None:
        """Let a pod's connections go on to the proxy, if it has a way out."""
        if "egress" not in reference:
            return
        name = str(reference["name"])
        path = self._run / Path(name).name / "s"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._way_out.reopen(name, path, reference):
            await self._lanes.keep(name, self.connect(reference).egress, path)

    def _archives(self, session: str) -> Path:
        return self._volumes / volume_name(session)

    async def _ensure_claim(self, claim: str) -> None:
        body = objects.volume_claim(
            claim,
            self._owner,
            size=self._options.volume_size,
            storage_class=self._options.storage_class,
        )
        await self._api.ensure(body)

    async def _make_file_pod(self, name: str, claim: str, user: int) -> None:
        await self.probe()
        await self._ensure_claim(claim)
        assert self._config_map is not None
        body = objects.file_pod(
            name,
            self._owner,
            claim,
            image=self._options.image,
            config_map=self._config_map,
            user=user,
            runtime_class=self._options.runtime_class,
        )
        await self._api.ensure(body)
        await self._api.wait_running(name)

    async def _wait_ready(self, reference: Reference) -> str:
        await self._api.wait_running(str(reference["name"]))
        deadline = time.monotonic() + START_S
        channel = self.connect(reference)
        while True:
            try:
                return (await channel.info()).boot_id
            except ConnectionError:
                if await self.status(reference) is Liveness.GONE or time.monotonic() > deadline:
                    raise EnvironmentUnavailable("agentd in the pod does not answer") from None
            await asyncio.sleep(LOOK_S)

    async def _remove(self, name: str) -> None:
        await self._lanes.drop(name)
        await self._way_out.close(name)
        shutil.rmtree(self._run / Path(name).name, ignore_errors=True)
        await self._api.remove_pod(name)


def _claim(session: str) -> str:
    """A session's volume claim, of the same name for every host that works in the namespace."""
    return f"everloop-{hashlib.sha256(session.encode()).hexdigest()[:24]}"
