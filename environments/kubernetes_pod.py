"""What is asked of a Kubernetes cluster for one session's environment, as API objects.

A pod of the `restricted` kind in all but one thing: its first process is root within the container,
with the two capabilities that becoming the session's user takes, as in a Docker container.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.environment import EnvironmentSpec, SharedMount
from contracts.operator_map import SharedFiles
from environments.bubblewrap_profile import (
    AGENTD_DIR,
    CONTAINER_FILES,
    SHM_BYTES,
    agentd_config,
    base_variables,
    user_files,
)

Json = dict[str, Any]

#: Whose object it is, and of which session.
OWNER_LABEL = "everloop/owner"
NAME_LABEL = "everloop/environment"
#: The claim of the session whose pod it is.
SESSION_LABEL = "everloop/session"
MANAGED = {"app.kubernetes.io/managed-by": "everloop"}
CONTAINER = "agent"
#: The ConfigMap with the id of the namespace's volumes.
VOLUMES = "everloop-volumes"
#: Inside the container: root's, so that commands cannot replace the socket in it.
CONTROL_DIR = "/run/everloop"
#: User ids of sessions, away from those of systems and of people.
FIRST_USER, USERS = 1_000_000, 1_000_000_000
#: Seconds that a pod has to end; agentd was asked before.
END_GRACE_S = 1
#: A pod for files that nobody ended is ended by the cluster.
FILE_POD_S = 3600
#: Memory of a pod for files: Python, a part of an upload and what compressing takes.
FILE_POD_MEMORY = "256Mi"
#: Processor time that a pod can count on.
CPU_REQUEST = "100m"
#: Where a pod for files sees the volume.
FILES_MOUNT = "/mnt/session"
_FILES = (
    *CONTAINER_FILES,
    "agentd_archive.py",
    "agentd_beneath.py",
    "agentd_scan.py",
    "agentd_session_files.py",
    "agentd_volume.py",
)
#: Does what it is told by `exec`, and nothing else.
_WAIT = ("python3", "-SsEB", "-c", "import signal; signal.pause()")
_COMMAND = (
    "python3",
    "-SsEB",
    "-c",
    f"import sys; sys.path.insert(0, {AGENTD_DIR!r}); "
    "from environments.agentd_container import main; main()",
)


def session_user(namespace: str, session: str) -> int:
    """The user id that a session's commands have, so that the kernel counts them apart."""
    digest = hashlib.sha256(f"{namespace} {session}".encode()).digest()
    return FIRST_USER + int.from_bytes(digest[:8]) % USERS


def agentd_files(owner: str) -> Json:
    """A ConfigMap with agentd; its name changes with its content."""
    here = Path(__file__).parent
    files = {name: (here / name).read_text() for name in _FILES}
    digest = hashlib.sha256("".join(files[name] for name in _FILES).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"everloop-agentd-{digest}",
            "labels": {**MANAGED, OWNER_LABEL: owner},
        },
        "immutable": True,
        "data": files,
    }


def session_files(name: str, owner: str, *, user: int, home: str) -> Json:
    """A ConfigMap with what tells a session's user its name."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {**MANAGED, OWNER_LABEL: owner}},
        "data": user_files(user, home),
    }


def volumes_id(owner: str, id: str) -> Json:
    """A ConfigMap with what names the claims of this namespace for all hosts; the first stays."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": VOLUMES, "labels": {**MANAGED, OWNER_LABEL: owner}},
        "immutable": True,
        "data": {"id": id},
    }


def no_network(owner: str) -> Json:
    """A NetworkPolicy that lets nothing into environments or out; agentd is reached by exec."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"everloop-{owner}", "labels": {**MANAGED, OWNER_LABEL: owner}},
        "spec": {
            "podSelector": {"matchLabels": {OWNER_LABEL: owner}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }


def volume_claim(name: str, owner: str, *, size: str, storage_class: str | None) -> Json:
    """A session's volume."""
    spec: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": {**MANAGED, OWNER_LABEL: owner}},
        "spec": spec,
    }


def pod_spec(
    spec: EnvironmentSpec,
    *,
    image: str,
    claim: str,
    config_map: str,
    user: int,
    runtime_class: str | None,
    way_out: bool,
    shares: Sequence[tuple[SharedMount, SharedFiles]] = (),
) -> Json:
    """The pod of an environment.

    Args:
        spec: what the session asked for.
        image: that it runs.
        claim: its volume, and the ConfigMap of its user.
        config_map: agentd's files.
        user: the session's.
        runtime_class: that it has; the cluster's default when None.
        way_out: whether its connections come by a stream of agentd's.
        shares: file systems that it has beside its volume.
    """
    limits = spec.limits
    variables = {
        **base_variables(spec.mount),
        "AGENTD_CONFIG": agentd_config(spec, proxy_stream=way_out),
        "AGENTD_SOCKET": f"{CONTROL_DIR}/s",
        "AGENTD_USER": str(user),
        "AGENTD_VOLUME": spec.mount,
    }
    made: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "hostname": "sandbox",
        "terminationGracePeriodSeconds": END_GRACE_S,
        "securityContext": {
            # The volume's files belong to the session's group; a big volume is not walked again.
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "command": list(_COMMAND),
                "workingDir": spec.mount,
                "env": [{"name": name, "value": value} for name, value in variables.items()],
                "securityContext": {
                    "runAsUser": 0,
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
                },
                "resources": {
                    "limits": {
                        # Files in memory are counted with what commands take.
                        "memory": str(limits.memory_bytes + limits.tmp_bytes + SHM_BYTES),
                        "cpu": f"{limits.cpu_percent * 10}m",
                    },
                    # Without, as much as the limit would be kept free for each on a node.
                    "requests": {"cpu": CPU_REQUEST},
                },
                "volumeMounts": [
                    {"name": "session", "mountPath": spec.mount},
                    *(
                        {
                            "name": f"share-{index}",
                            "mountPath": share.path,
                            **({"readOnly": True} if files.read_only else {}),
                        }
                        for index, (share, files) in enumerate(shares)
                    ),
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "shm", "mountPath": "/dev/shm"},
                    {"name": "control", "mountPath": CONTROL_DIR},
                    {
                        "name": "agentd",
                        "mountPath": f"{AGENTD_DIR}/environments",
                        "readOnly": True,
                    },
                    *(
                        {
                            "name": "user",
                            "mountPath": f"/etc/{file}",
                            "subPath": file,
                            "readOnly": True,
                        }
                        for file in user_files(user, spec.mount)
                    ),
                ],
            }
        ],
        "volumes": [
            {"name": "session", "persistentVolumeClaim": {"claimName": claim}},
            *(
                {"name": f"share-{index}", **_shared(files)}
                for index, (_, files) in enumerate(shares)
            ),
            {
                "name": "tmp",
                "emptyDir": {"medium": "Memory", "sizeLimit": str(limits.tmp_bytes)},
            },
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": str(SHM_BYTES)}},
            {"name": "control", "emptyDir": {}},
            {"name": "user", "configMap": {"name": claim, "defaultMode": 0o444}},
            {"name": "agentd", "configMap": {"name": config_map, "defaultMode": 0o444}},
        ],
    }
    if runtime_class is not None:
        made["runtimeClassName"] = runtime_class
    return made


def _shared(files: SharedFiles) -> Json:
    """The source of a shared file system; read-only ones are mounted so by the node too."""
    read_only: Json = {"readOnly": True} if files.read_only else {}
    if files.claim is not None:
        return {"persistentVolumeClaim": {"claimName": files.claim, **read_only}}
    assert files.nfs is not None
    return {"nfs": {"server": files.nfs.server, "path": files.nfs.path, **read_only}}


def file_pod(
    name: str,
    owner: str,
    claim: str,
    *,
    image: str,
    config_map: str,
    user: int,
    runtime_class: str | None,
) -> Json:
    """A pod that has a session's volume and runs nothing of the session's."""
    made: Json = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": FILE_POD_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": END_GRACE_S,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": image,
                "command": list(_WAIT),
                "workingDir": FILES_MOUNT,
                "securityContext": {
                    "runAsUser": user,
                    "runAsGroup": user,
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {"limits": {"memory": FILE_POD_MEMORY}},
                "volumeMounts": [
                    {"name": "session", "mountPath": FILES_MOUNT},
                    {
                        "name": "agentd",
                        "mountPath": f"{AGENTD_DIR}/environments",
                        "readOnly": True,
                    },
                ],
            }
        ],
        "volumes": [
            {"name": "session", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "agentd", "configMap": {"name": config_map, "defaultMode": 0o444}},
        ],
    }
    if runtime_class is not None:
        made["runtimeClassName"] = runtime_class
    return pod(name, owner, claim, made)


def pod(name: str, owner: str, claim: str, spec: Json) -> Json:
    """A plain pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels(name, owner, claim)},
        "spec": spec,
    }


def sandbox(name: str, owner: str, claim: str, spec: Json, version: str) -> Json:
    """A Sandbox of kubernetes-sigs/agent-sandbox, whose controller makes the pod of its name.

    Args:
        name: of both.
        owner: whose they are.
        claim: of the session.
        spec: the pod's.
        version: of the API group `agents.x-k8s.io`, as the cluster prefers it.
    """
    return {
        "apiVersion": version,
        "kind": "Sandbox",
        "metadata": {"name": name, "labels": labels(name, owner, claim)},
        "spec": {"podTemplate": {"metadata": {"labels": labels(name, owner, claim)}, "spec": spec}},
    }


def labels(name: str, owner: str, claim: str) -> dict[str, str]:
    """What finds an environment again."""
    return {**MANAGED, OWNER_LABEL: owner, NAME_LABEL: name, SESSION_LABEL: claim}
