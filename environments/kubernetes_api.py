"""The API server of a cluster: what is asked of it, and how long an answer may take."""

import asyncio
import importlib
import time
from dataclasses import dataclass
from typing import Any

from contracts.errors import EnvironmentUnavailable
from environments import kubernetes_pod as objects
from environments.channel import Streams
from environments.engine_calls import EngineCalls
from environments.kubernetes_exec import open_exec
from environments.kubernetes_pod import Json

#: A node may have to be found and an image pulled.
START_S = 300.0
#: A pod that was deleted with a second's grace is gone by then, unless its node is.
END_S = 60.0
LOOK_S = 0.2
#: Answers that there is no such object, and that there is one already.
ABSENT, THERE = 404, 409
#: Connections to the API server at once.
CONNECTIONS_MAX = 2048
SANDBOX_GROUP = "agents.x-k8s.io"
_SANDBOXES = "sandboxes"
#: Why a pod waits that will never run.
_HOPELESS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
)


class ClusterApi:
    """Calls about objects of one namespace."""

    def __init__(self, namespace: str, kubeconfig: str | None) -> None:
        """Connect to nothing yet.

        Args:
            namespace: whose objects.
            kubeconfig: a file; None for the pod's own service account, else `~/.kube/config`.
        """
        self._namespace = namespace
        self._kubeconfig = kubeconfig
        self._clients: _Clients | None = None
        #: The version of agent-sandbox's API; empty when the cluster has none, None when unknown.
        self._sandboxes: str | None = None

    async def ensure(self, body: Json) -> None:
        """Create an object that may be there already.

        Raises:
            EnvironmentUnavailable: the API server does not answer, or refuses.
        """
        clients = await self._connect()
        await self._ask(clients.create(self._namespace, body), fine=THERE)

    async def replace_config_map(self, body: Json) -> None:
        """Have a ConfigMap be like this, whatever it was."""
        await self.delete_config_map(body["metadata"]["name"])
        await self._ask((await self._connect()).create(self._namespace, body))

    async def delete_config_map(self, name: str) -> None:
        """Delete a ConfigMap. Idempotent."""
        core = (await self._connect()).core
        await self._ask(core.delete_namespaced_config_map(name, self._namespace), fine=ABSENT)

    async def delete_claim(self, name: str) -> None:
        """Delete a volume claim. Idempotent."""
        core = (await self._connect()).core
        delete = core.delete_namespaced_persistent_volume_claim
        await self._ask(delete(name, self._namespace), fine=ABSENT)

    async def config_value(self, name: str, key: str) -> str:
        """One value of a ConfigMap that is there."""
        core = (await self._connect()).core
        found = await self._ask(core.read_namespaced_config_map(name, self._namespace))
        values: dict[str, str] = found.data or {}
        return values.get(key, "")

    async def pod(self, name: str) -> Any:
        """A pod as it is now; None when there is none."""
        core = (await self._connect()).core
        return await self._ask(core.read_namespaced_pod(name, self._namespace), fine=ABSENT)

    async def pods(self, selector: str) -> list[Any]:
        """The pods with a label."""
        core = (await self._connect()).core
        found = await self._ask(core.list_namespaced_pod(self._namespace, label_selector=selector))
        return list(found.items)

    async def names(self, selector: str) -> list[str]:
        """The names of the pods and Sandboxes with a label; both of one environment are one."""
        found = {str(pod.metadata.name) for pod in await self.pods(selector)}
        version = await self._sandbox_version()
        if version:
            group, number = version.split("/")
            list_them = (await self._connect()).custom.list_namespaced_custom_object
            listed = await self._ask(
                list_them(group, number, self._namespace, _SANDBOXES, label_selector=selector)
            )
            # One whose pod is not there yet would have it later.
            found |= {str(each["metadata"]["name"]) for each in listed["items"]}
        return sorted(found)

    async def create_pod(self, name: str, owner: str, claim: str, spec: Json) -> None:
        """Create an environment's pod, by way of a Sandbox where the cluster has them."""
        clients = await self._connect()
        sandboxes = await self._sandbox_version()
        if not sandboxes:
            body = objects.pod(name, owner, claim, spec)
            await self._ask(clients.create(self._namespace, body))
            return
        group, version = sandboxes.split("/")
        body = objects.sandbox(name, owner, claim, spec, sandboxes)
        await self._ask(
            clients.custom.create_namespaced_custom_object(
                group, version, self._namespace, _SANDBOXES, body
            )
        )

    async def wait_running(self, name: str) -> None:
        """Wait until a pod runs.

        Raises:
            EnvironmentUnavailable: it will not, or takes too long; the message says why.
        """
        deadline = time.monotonic() + START_S
        while True:
            pod = await self.pod(name)
            if pod is not None:
                _check_hope(pod)
                if pod.status.phase == "Running":
                    return
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(f"the pod did not run within {START_S:.0f} s")
            await asyncio.sleep(LOOK_S)

    async def remove_pod(self, name: str) -> None:
        """Delete a pod, with its Sandbox if it has one, and wait until it is gone. Idempotent.

        Raises:
            EnvironmentUnavailable: it does not end; its node may still run it.
        """
        clients = await self._connect()
        sandboxes = await self._sandbox_version()
        if sandboxes:
            group, version = sandboxes.split("/")
            delete = clients.custom.delete_namespaced_custom_object
            await self._ask(delete(group, version, self._namespace, _SANDBOXES, name), fine=ABSENT)
        await self._ask(
            clients.core.delete_namespaced_pod(
                name, self._namespace, grace_period_seconds=objects.END_GRACE_S
            ),
            fine=ABSENT,
        )
        # The volume may be mounted by one pod only; the next one would wait for ever.
        deadline = time.monotonic() + END_S
        while await self.pod(name) is not None:
            if time.monotonic() > deadline:
                raise EnvironmentUnavailable(f"the pod {name} does not end; is its node away?")
            await asyncio.sleep(LOOK_S)

    async def exec(self, pod: str, command: tuple[str, ...]) -> Streams:
        """Run a command in a pod; streams of its standard input and output.

        Raises:
            ConnectionError: it could not be started.
        """
        clients = await self._connect()
        return await open_exec(
            await clients.exec.connect_get_namespaced_pod_exec(
                pod,
                self._namespace,
                container=objects.CONTAINER,
                command=list(command),
                stdin=True,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
            )
        )

    async def close(self) -> None:
        """Let go of the API server."""
        if self._clients is not None:
            await self._clients.close()
            self._clients = None
            self._sandboxes = None

    async def _sandbox_version(self) -> str:
        if self._sandboxes is None:
            groups = await self._ask((await self._connect()).apis.get_api_versions())
            found = next((g for g in groups.groups if g.name == SANDBOX_GROUP), None)
            self._sandboxes = str(found.preferred_version.group_version) if found else ""
        return self._sandboxes

    async def _connect(self) -> "_Clients":
        if self._clients is None:
            self._clients = await _Clients.open(self._kubeconfig)
        return self._clients

    async def _ask(self, call: Any, *, fine: int | None = None) -> Any:
        client: Any = importlib.import_module("kubernetes_asyncio.client")
        calls = EngineCalls("the Kubernetes API", client.ApiException, _said)
        return await calls.ask(call, fine=fine)


def _said(error: Any) -> str:
    return f"{error.status} {error.reason}"


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

    def create(self, namespace: str, body: Json) -> Any:
        """The call that creates an object of a kind that is used here."""
        calls = {
            "ConfigMap": self.core.create_namespaced_config_map,
            "NetworkPolicy": self.networking.create_namespaced_network_policy,
            "PersistentVolumeClaim": self.core.create_namespaced_persistent_volume_claim,
            "Pod": self.core.create_namespaced_pod,
        }
        return calls[body["kind"]](namespace, body)

    async def close(self) -> None:
        for each in self.opened:
            await each.close()


def _check_hope(pod: Any) -> None:
    """End the wait for a pod that will never run.

    Raises:
        EnvironmentUnavailable: it will not; the message says why.
    """
    if pod.status.phase in ("Succeeded", "Failed"):
        states = [each.state.terminated for each in pod.status.container_statuses or ()]
        said = [each.message or each.reason for each in states if each is not None]
        why = pod.status.message or pod.status.reason or " ".join(filter(None, said))
        raise EnvironmentUnavailable(
            f"the pod did not start: {why or 'its first process ended'}"[:500]
        )
    for status in pod.status.container_statuses or ():
        waiting = status.state and status.state.waiting
        if waiting is not None and waiting.reason in _HOPELESS:
            raise EnvironmentUnavailable(
                f"the pod did not start: {waiting.reason}: {waiting.message or ''}"[:500]
            )
