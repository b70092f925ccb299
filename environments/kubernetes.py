"""The Kubernetes provider: a pod and a volume claim for each session, the same agentd inside.

Where the cluster has kubernetes-sigs/agent-sandbox, a Sandbox of its stands for the pod. What is
stopped is deleted; the claim stays until the session's data is deleted.
"""

import asyncio
import hashlib
import importlib
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.environment import EnvironmentSpec
from contracts.errors import EnvironmentUnavailable
from environments import kubernetes_pod as objects
from environments.channel import AgentChannel, Streams
from environments.egress import EgressProxy
from environments.egress_lanes import EgressLanes
from environments.kubernetes_exec import COMMAND, open_exec
from environments.kubernetes_pod import Json
from environments.operator_resolver import Resolver
from environments.provider import Liveness, Reference, Started, check_mounts
from environments.way_out import WayOut
from store import MapSource

log = logging.getLogger(__name__)

#: A node may have to be found and an image pulled.
START_S = 300.0
#: A pod that was deleted with a second's grace is gone by then, unless its node is.
END_S = 60.0
LOOK_S = 0.2
API_S = 30.0
#: Connections to the API server at once.
CONNECTIONS_MAX = 2048
SANDBOX_GROUP = "agents.x-k8s.io"
_SANDBOXES = "sandboxes"
#: Why a pod waits that will never run.
_HOPELESS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
)


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
        proxy: EgressProxy | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            owner: names this sandbox host; pods of other owners are left alone.
            options: where environments go.
            data_dir: this owner's alone; it is made when it is first needed.
            proxy: the way to the network; without it no pod has any.
            resolver: what stands here for access points and subnets; nothing when omitted.
        """
        self._run = data_dir / "run" / "pods"
        self._resolver = resolver or Resolver.of(MapSource(None))
        self._way_out = WayOut(proxy, self._resolver)
        self._lanes = EgressLanes()
        self._owner = hashlib.sha256(owner.encode()).hexdigest()[:24]
        self._options = options
        self._clients: _Clients | None = None
        self._ready = asyncio.Lock()
        self._config_map: str | None = None
        self._sandboxes: str | None = None

    async def probe(self) -> None:
        """Find out whether the cluster answers, and bring there what every environment needs.

        Raises:
            EnvironmentUnavailable: it does not answer, or refuses; the message says why.
        """
        async with self._ready:
            if self._config_map is not None:
                return
            clients = await self._connect()
            groups = await self._ask(clients.apis.get_api_versions())
            found = next((g for g in groups.groups if g.name == SANDBOX_GROUP), None)
            self._sandboxes = found and found.preferred_version.group_version
            namespace = self._options.namespace
            policy = objects.no_network(self._owner)
            create = clients.networking.create_namespaced_network_policy
            await self._ensure(create(namespace, policy))
            files = objects.agentd_files(self._owner)
            await self._ensure(clients.core.create_namespaced_config_map(namespace, files))
            self._config_map = str(files["metadata"]["name"])

    async def start(self, session: str, spec: EnvironmentSpec, *, generation: int) -> Started:
        """Start a pod on the session's volume. See `provider.EnvironmentProvider.start`."""
        check_mounts(spec)
        shares = self._resolver.cluster_shares(spec)
        await self.probe()
        clients = await self._connect()
        claim = self._claim(session)
        await self._ensure(
            clients.core.create_namespaced_persistent_volume_claim(
                self._options.namespace,
                objects.volume_claim(
                    claim,
                    self._owner,
                    size=self._options.volume_size,
                    storage_class=self._options.storage_class,
                ),
            )
        )
        user = objects.session_user(session)
        files = objects.session_files(claim, self._owner, user=user, home=spec.mount)
        await self._replace_files(claim, files)
        name = f"{claim}-{generation}"
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
            await self._create(name, pod_spec)
            boot_id = await self._wait_ready(name)
            if self._way_out.wanted(spec):
                await self._carry(reference)
                await self._lanes.first(name)
        except BaseException:
            await asyncio.shield(self._remove(name))
            raise
        return Started(reference, boot_id)

    def connect(self, reference: Reference) -> AgentChannel:
        """A channel to a running pod; it connects when it is used."""
        return AgentChannel(lambda: self._exec(str(reference["name"])))

    async def status(self, reference: Reference) -> Liveness:
        """Whether a pod runs; unknown when the API server does not answer."""
        try:
            pod = await self._pod(str(reference["name"]))
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
        clients = await self._connect()
        delete = clients.core.delete_namespaced_persistent_volume_claim
        claim, namespace = self._claim(session), self._options.namespace
        await self._ask(delete(claim, namespace), absent_is_fine=True)
        await self._ask(
            clients.core.delete_namespaced_config_map(claim, namespace), absent_is_fine=True
        )

    async def stop_orphans(self, known: Sequence[Reference]) -> int:
        """End every pod of this owner that is not among `known`.

        Those that are get their way to the network back, which ended with the last host process.
        """
        for reference in known:
            await self._carry(reference)
        names = {str(reference.get("name")) for reference in known}
        try:
            clients = await self._connect()
            selector = f"{objects.OWNER_LABEL}={self._owner}"
            found = await self._ask(
                clients.core.list_namespaced_pod(self._options.namespace, label_selector=selector)
            )
        except EnvironmentUnavailable as error:
            log.warning("pods without a record cannot be looked for: %s", error)
            return 0
        lost = [pod.metadata.name for pod in found.items if pod.metadata.name not in names]
        for name in lost:
            log.warning("ending a pod without a record: %s", name)
            await self._remove(name)
        return len(lost)

    async def close(self) -> None:
        """Let go of the API server."""
        await self._lanes.drop_all()
        if self._clients is not None:
            await self._clients.close()
            self._clients = None
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

    def _claim(self, session: str) -> str:
        digest = hashlib.sha256(f"{self._owner} {session}".encode()).hexdigest()[:24]
        return f"everloop-{digest}"

    async def _connect(self) -> "_Clients":
        if self._clients is None:
            self._clients = await _Clients.open(self._options.kubeconfig)
        return self._clients

    async def _replace_files(self, name: str, files: Json) -> None:
        """The mount, and with it the home directory, may have changed since the last start."""
        core, namespace = (await self._connect()).core, self._options.namespace
        await self._ask(core.delete_namespaced_config_map(name, namespace), absent_is_fine=True)
        await self._ask(core.create_namespaced_config_map(namespace, files))

    async def _create(self, name: str, spec: Json) -> None:
        clients = await self._connect()
        namespace = self._options.namespace
        if self._sandboxes is None:
            body = objects.pod(name, self._owner, spec)
            await self._ask(clients.core.create_namespaced_pod(namespace, body))
            return
        group, version = self._sandboxes.split("/")
        body = objects.sandbox(name, self._owner, spec, self._sandboxes)
        await self._ask(
            clients.custom.create_namespaced_custom_object(
                group, version, namespace, _SANDBOXES, body
            )
        )

    async def _wait_ready(self, name: str) -> str:
        deadline = time.monotonic() + START_S
        channel = self.connect({"name": name})
        while True:
            pod = await self._pod(name)
            if pod is not None:
                _check_hope(pod)
                if pod.status.phase == "Running":
                    try:
                        return (await channel.info()).boot_id
                    except ConnectionError:
                        log.debug("agentd of %s does not answer yet", name)
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(f"the pod did not become ready within {START_S:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def _remove(self, name: str) -> None:
        await self._lanes.drop(name)
        await self._way_out.close(name)
        shutil.rmtree(self._run / Path(name).name, ignore_errors=True)
        clients = await self._connect()
        namespace = self._options.namespace
        if self._sandboxes is not None:
            group, version = self._sandboxes.split("/")
            delete = clients.custom.delete_namespaced_custom_object
            await self._ask(
                delete(group, version, namespace, _SANDBOXES, name), absent_is_fine=True
            )
        await self._ask(
            clients.core.delete_namespaced_pod(
                name, namespace, grace_period_seconds=objects.END_GRACE_S
            ),
            absent_is_fine=True,
        )
        # The volume may be mounted by one pod only; the next one would wait for ever.
        deadline = time.monotonic() + END_S
        while await self._pod(name) is not None:
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(f"the pod {name} does not end; is its node away?")
            await asyncio.sleep(LOOK_S)

    async def _pod(self, name: str) -> Any:
        clients = await self._connect()
        read = clients.core.read_namespaced_pod(name, self._options.namespace)
        return await self._ask(read, absent_is_fine=True)

    async def _exec(self, name: str) -> Streams:
        clients = await self._connect()
        return await open_exec(
            await clients.exec.connect_get_namespaced_pod_exec(
                name,
                self._options.namespace,
                container=objects.CONTAINER,
                command=list(COMMAND),
                stdin=True,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
        )

    async def _ensure(self, create: Any) -> None:
        """Create what may be there already."""
        await self._ask(create, conflict_is_fine=True)

    async def _ask(
        self, call: Any, *, absent_is_fine: bool = False, conflict_is_fine: bool = False
    ) -> Any:
        """Await an answer of the API server; None for an absence or a conflict that is fine.

        Raises:
            EnvironmentUnavailable: it refuses, or does not answer.
        """
        client: Any = importlib.import_module("kubernetes_asyncio.client")
        http: Any = importlib.import_module("aiohttp")
        try:
            async with asyncio.timeout(API_S):
                return await call
        except client.ApiException as error:
            if (absent_is_fine and error.status == 404) or (
                conflict_is_fine and error.status == 409
            ):
                return None
            raise EnvironmentUnavailable(
                f"the Kubernetes API refused: {error.status} {error.reason}"
            ) from None
        except (http.ClientError, OSError, TimeoutError) as error:
            raise EnvironmentUnavailable(
                f"the Kubernetes API does not answer: {type(error).__name__}"
            ) from None


@dataclass(frozen=True)
class _Clients:
    """The API groups that are used, and the client of exec."""

    core: Any
    networking: Any
    custom: Any
    apis: Any
    exec: Any
    opened: tuple[Any, ...]

    @classmethod
    async def open(cls, kubeconfig: str | None) -> "_Clients":
        try:
            config: Any = importlib.import_module("kubernetes_asyncio.config")
            client: Any = importlib.import_module("kubernetes_asyncio.client")
            stream: Any = importlib.import_module("kubernetes_asyncio.stream")
        except ImportError as error:
            raise EnvironmentUnavailable(
                "Kubernetes needs the extra: pip install 'everloop-server[kubernetes]'"
            ) from error
        settings = client.Configuration()
        try:
            if kubeconfig is None:
                try:
                    config.load_incluster_config(client_configuration=settings)
                except config.ConfigException:
                    await config.load_kube_config(client_configuration=settings)
            else:
                await config.load_kube_config(config_file=kubeconfig, client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise EnvironmentUnavailable(f"no cluster is configured: {error}") from None
        # Each command under way and each way out holds one.
        settings.connection_pool_maxsize = CONNECTIONS_MAX
        plain = client.ApiClient(settings)
        streaming = stream.WsApiClient(settings)
        return cls(
            core=client.CoreV1Api(plain),
            networking=client.NetworkingV1Api(plain),
            custom=client.CustomObjectsApi(plain),
            apis=client.ApisApi(plain),
            exec=client.CoreV1Api(streaming),
            opened=(plain, streaming),
        )

    async def close(self) -> None:
        for each in self.opened:
            await each.close()


def _check_hope(pod: Any) -> None:
    """End the wait for a pod that will never run.

    Raises:
        EnvironmentUnavailable: it will not; the message says why.
    """
    if pod.status.phase in ("Succeeded", "Failed"):
        why = pod.status.message or pod.status.reason or "its first process ended"
        raise EnvironmentUnavailable(f"the pod did not start: {why}")
    for status in pod.status.container_statuses or ():
        waiting = status.state and status.state.waiting
        if waiting is not None and waiting.reason in _HOPELESS:
            raise EnvironmentUnavailable(
                f"the pod did not start: {waiting.reason}: {waiting.message or ''}"[:500]
            )
