"""A Kubernetes API of our own for tests, whose pods are real containers of a real engine.

No API server can be had from package registries. This one keeps objects, checks that they hold
nothing that Kubernetes' own client types do not know, runs each pod as a container with its volumes
and limits, and speaks the exec protocol. It has no scheduler, no admission and no network policies:
those it only keeps.
"""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from tests.environments.engine import Engine

Json = dict[str, Any]

_KINDS = {
    "pods": "V1Pod",
    "persistentvolumeclaims": "V1PersistentVolumeClaim",
    "configmaps": "V1ConfigMap",
    "networkpolicies": "V1NetworkPolicy",
}
SANDBOX_VERSION = "agents.x-k8s.io/v1beta1"


@dataclass
class Cluster:
    """The API and what it keeps.

    Attributes:
        engine: runs the pods.
        directory: holds volumes.
        sandboxes: whether agent-sandbox is installed.
        namespace: the one it has, another in each cluster: processes are counted for a user that
            follows from a session's name and this.
        url: where it listens, once it does.
        kept: objects by plural and name.
        failures: what was said of containers that could not be started, by pod.
        ids: of the containers that could, by pod.
    """

    engine: Engine
    directory: Path
    sandboxes: bool
    namespace: str = field(default_factory=lambda: f"agents-{os.urandom(4).hex()}")
    url: str = ""
    kept: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    ids: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def kubeconfig(self) -> str:
        path = self.directory / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "t", "cluster": {"server": self.url}}],
                    "users": [{"name": "t", "user": {"token": "t"}}],
                    "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
                    "current-context": "t",
                }
            )
        )
        return str(path)

    def claim(self, name: str) -> Path:
        """Make a claim that many pods can mount at once; the directory behind it."""
        spec = {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        }
        self.kept.setdefault("persistentvolumeclaims", {})[name] = {
            "metadata": {"name": name, "labels": {}},
            "spec": spec,
        }
        return _open_to_all(self.directory / name)

    def export(self, nfs: Json) -> Path:
        """The directory that stands for an export of an NFS server."""
        return _open_to_all(self.directory / f"{nfs['server']}-{nfs['path'].strip('/')}")

    def podman(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [*self.engine.podman, *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.directory)
        assert not check or done.returncode == 0, done.stderr
        return done

    def container(self, pod: str) -> str:
        """The container that is a pod; the engine has those of other clusters too."""
        return f"{self.namespace}-{pod}"

    def run_pod(self, pod: Json) -> None:
        """Start a pod's container; the kubelet's part."""
        spec, name = pod["spec"], pod["metadata"]["name"]
        (container,) = spec["containers"]
        security = container["securityContext"]
        words = ["run", "-d", "--name", self.container(name), "--network", "none"]
        words += ["--hostname", spec.get("hostname", name)]
        words += ["--read-only"] if security["readOnlyRootFilesystem"] else []
        if not security["allowPrivilegeEscalation"]:
            words += ["--security-opt", "no-new-privileges"]
        words += [f"--cap-drop={each}" for each in security["capabilities"]["drop"]]
        words += [f"--cap-add={each}" for each in security["capabilities"].get("add", ())]
        user, group = security["runAsUser"], spec["securityContext"]["fsGroup"]
        words += ["--user", f"{user}:{security.get('runAsGroup', 0)}", "--group-add", str(group)]
        assert user or not spec["securityContext"].get("runAsNonRoot")
        words += ["--workdir", container["workingDir"]]
        limits = container["resources"]["limits"]
        words += ["--memory", limits["memory"].replace("Mi", "m")]
        if "cpu" in limits:
            words += ["--cpu-quota", str(int(limits["cpu"].removesuffix("m")) * 100)]
        words += ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
        for variable in container.get("env", ()):
            words += ["--env", f"{variable['name']}={variable['value']}"]
        volumes = {each["name"]: each for each in spec["volumes"]}
        for mount in container["volumeMounts"]:
            source = self._volume(name, volumes[mount["name"]], group) / mount.get("subPath", "")
            of_volume: Json = volumes[mount["name"]]
            in_memory: Json = of_volume.get("emptyDir", {})
            if in_memory.get("medium") == "Memory":
                size = in_memory["sizeLimit"]
                words += ["--tmpfs", f"{mount['mountPath']}:rw,nosuid,nodev,mode=1777,size={size}"]
                continue
            source_of: Json = of_volume.get("persistentVolumeClaim") or of_volume.get("nfs") or {}
            locked = mount.get("readOnly") or source_of.get("readOnly")
            way = "ro" if locked else "rw"
            words += ["-v", f"{source}:{mount['mountPath']}:{way}"]
        entry, *rest = container["command"]
        words += ["--pull", "never", "--entrypoint", entry, container["image"], *rest]
        done = self.podman(*words, check=False)
        if done.returncode != 0:
            self.failures[name] = done.stderr
        else:
            self.ids[name] = done.stdout.strip()

    def _volume(self, pod: str, volume: Json, group: int) -> Path:
        """The directory behind a volume, made as the kubelet makes it."""
        if "nfs" in volume:
            # A node mounts what is there, and leaves owners and modes alone.
            return self.export(volume["nfs"])
        claim = volume.get("persistentVolumeClaim")
        if claim is not None:
            assert claim["claimName"] in self.kept["persistentvolumeclaims"]
        path = self.directory / (claim["claimName"] if claim else f"{pod}-{volume['name']}")
        path.mkdir(exist_ok=True)
        modes = self.kept["persistentvolumeclaims"][claim["claimName"]] if claim else {}
        if claim and modes["spec"]["accessModes"] == ["ReadWriteMany"]:
            # As most drivers of such volumes do: the group of a pod is not given to them.
            return path
        config = volume.get("configMap")
        if config is not None:
            for name, text in self.kept["configmaps"][config["name"]]["data"].items():
                (path / name).write_text(text)
        elif volume["name"] != "control":
            os.chown(path, 0, group)
            path.chmod(0o2775 if claim else 0o2777)
        return path

    def status(self, name: str) -> Json:
        """A pod's status, as a kubelet writes it."""
        failure = self.failures.get(name)
        if failure is None:
            return {"phase": self._phase(name)}
        state: Json = {"terminated": {"exitCode": 128, "reason": "StartError", "message": failure}}
        if "image not known" in failure:
            state = {"waiting": {"reason": "ErrImagePull", "message": failure}}
        known = {"name": "agent", "image": "", "imageID": "", "ready": False, "restartCount": 0}
        phase = "Failed" if "terminated" in state else "Pending"
        return {"phase": phase, "containerStatuses": [{**known, "state": state}]}

    def _phase(self, name: str) -> str:
        # The runtime itself answers ten times as fast as the engine, and is asked all the time.
        shown = subprocess.run(["runc", "state", self.ids[name]], capture_output=True, text=True)
        state = json.loads(shown.stdout)["status"] if shown.returncode == 0 else "gone"
        return "Running" if state == "running" else "Failed"


@asynccontextmanager
async def cluster(engine: Engine, directory: Path, *, sandboxes: bool) -> AsyncGenerator[Cluster]:
    """Serve an empty cluster."""
    directory.mkdir()
    made = Cluster(engine, directory, sandboxes)
    api = _Api(made)
    app = web.Application()
    app.router.add_get("/apis/", api.groups)
    for base in ("/api/v1", "/apis/networking.k8s.io/v1", f"/apis/{SANDBOX_VERSION}"):
        path = f"{base}/namespaces/{made.namespace}/{{plural}}"
        app.router.add_post(path, api.create)
        app.router.add_get(path, api.list)
        app.router.add_get(f"{path}/{{name}}", api.read)
        app.router.add_delete(f"{path}/{{name}}", api.delete)
        app.router.add_get(f"{path}/{{name}}/exec", api.exec)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    try:
        yield made
    finally:
        for name in list(made.kept.get("pods", {})):
            made.podman("rm", "-f", "-t", "0", made.container(name), check=False)
        await runner.cleanup()


class _Api:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def groups(self, _: web.Request) -> web.Response:
        groups: list[Json] = []
        if self._cluster.sandboxes:
            version = {"groupVersion": SANDBOX_VERSION, "version": "v1beta1"}
            groups = [
                {"name": "agents.x-k8s.io", "versions": [version], "preferredVersion": version}
            ]
        return web.json_response({"kind": "APIGroupList", "groups": groups})

    async def create(self, request: web.Request) -> web.Response:
        body: Json = await request.json()
        plural, name = request.match_info["plural"], body["metadata"]["name"]
        kept = self._cluster.kept.setdefault(plural, {})
        if name in kept:
            return _status(409, "AlreadyExists")
        await _check(plural, body)
        kept[name] = body
        if plural == "sandboxes":
            template = body["spec"]["podTemplate"]
            pod = {"metadata": {"name": name, **template["metadata"]}, "spec": template["spec"]}
            await _check("pods", pod)
            self._cluster.kept.setdefault("pods", {})[name] = pod
            await asyncio.to_thread(self._cluster.run_pod, pod)
        if plural == "pods":
            await asyncio.to_thread(self._cluster.run_pod, body)
        return web.json_response(body, status=201)

    async def read(self, request: web.Request) -> web.Response:
        plural, name = request.match_info["plural"], request.match_info["name"]
        found = self._cluster.kept.get(plural, {}).get(name)
        if found is None:
            return _status(404, "NotFound")
        return web.json_response(await self._shown(plural, name, found))

    async def list(self, request: web.Request) -> web.Response:
        plural = request.match_info["plural"]
        key, _, value = request.query["labelSelector"].partition("=")
        items = [
            await self._shown(plural, name, each)
            for name, each in self._cluster.kept.get(plural, {}).items()
            if each["metadata"]["labels"].get(key) == value
        ]
        return web.json_response({"items": items})

    async def delete(self, request: web.Request) -> web.Response:
        plural, name = request.match_info["plural"], request.match_info["name"]
        if self._cluster.kept.get(plural, {}).pop(name, None) is None:
            return _status(404, "NotFound")
        if plural == "persistentvolumeclaims":
            await asyncio.to_thread(shutil.rmtree, self._cluster.directory / name, True)
        if plural == "sandboxes":
            self._cluster.kept["pods"].pop(name, None)
        if plural in ("pods", "sandboxes"):
            container = self._cluster.container(name)
            await asyncio.to_thread(self._cluster.podman, "rm", "-f", "-t", "0", container)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def exec(self, request: web.Request) -> web.WebSocketResponse:
        container = self._cluster.ids[request.match_info["name"]]
        command = request.query.getall("command")
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        process = await asyncio.create_subprocess_exec(
            *("runc", "exec", container, *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self._cluster.directory,
        )
        assert process.stdin and process.stdout

        async def feed() -> None:
            assert process.stdin
            async for message in socket:
                if message.type is WSMsgType.BINARY and message.data[:1] == b"\x00":
                    process.stdin.write(message.data[1:])
                    await process.stdin.drain()
            process.stdin.close()

        feeding = asyncio.create_task(feed())
        with contextlib.suppress(ConnectionError):
            while data := await process.stdout.read(65536):
                await socket.send_bytes(b"\x01" + data)
            code = await process.wait()
            status = {"status": "Success"} if code == 0 else {"status": "Failure"}
            await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()
        await feeding
        if process.returncode is None:
            process.kill()
            await process.wait()
        return socket

    async def _shown(self, plural: str, name: str, body: Json) -> Json:
        if plural != "pods":
            return body
        return {**body, "status": await asyncio.to_thread(self._cluster.status, name)}


async def _check(plural: str, body: Json) -> None:
    """That the object holds nothing that Kubernetes' own types would drop."""
    if plural not in _KINDS:
        return
    kubernetes: Any = importlib.import_module("kubernetes_asyncio.client")
    async with kubernetes.ApiClient(kubernetes.Configuration()) as api:
        read: Any = api._ApiClient__deserialize
        known = api.sanitize_for_serialization(read(body, _KINDS[plural]))
    assert known == body, (plural, known, body)


def _open_to_all(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    path.chmod(0o777)
    return path


def _status(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason}, status=code)
