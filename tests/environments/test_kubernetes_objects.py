"""What is asked of a cluster, against the schemas that Kubernetes publishes for its versions."""

import importlib
from typing import Any

import pytest

from contracts.environment import EnvironmentSpec, SharedMount
from contracts.operator_map import NfsExport, SharedFiles
from environments import kubernetes_pod as objects
from environments.kubernetes_pod import Json

SPEC = EnvironmentSpec(shares=(SharedMount("a", "/mnt/a"), SharedMount("b", "/mnt/b")))
SHARES = (
    (SPEC.shares[0], SharedFiles(claim="reports", read_only=True)),
    (SPEC.shares[1], SharedFiles(nfs=NfsExport(server="files.test", path="/b"))),
)
USER = objects.session_user("agents", "s")


def everything() -> list[Json]:
    """One object of each kind, with every member that it can have."""
    pod = objects.pod_spec(
        SPEC,
        image="agent:1",
        claim="claim",
        config_map="agentd",
        user=USER,
        runtime_class="gvisor",
        way_out=True,
        shares=SHARES,
    )
    for_files = objects.file_pod(
        "claim-files",
        "owner",
        "claim",
        image="agent:1",
        config_map="agentd",
        user=USER,
        runtime_class="gvisor",
    )
    return [
        objects.agentd_files("owner"),
        objects.session_files("claim", "owner", user=USER, home=SPEC.mount),
        objects.volumes_id("owner", "0" * 32),
        objects.no_network("owner"),
        objects.volume_claim("claim", "owner", size="1Gi", storage_class="fast"),
        objects.pod("claim-1", "owner", "claim", pod),
        for_files,
    ]


@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_every_object_is_one_that_the_version_knows(version: str) -> None:
    kubernetes: Any = importlib.import_module("kubernetes_validate")
    for body in everything():
        kubernetes.validate(body, version, strict=True)
    with pytest.raises(kubernetes.ValidationError, match="unexpected"):
        kubernetes.validate({**everything()[0], "hostname": "x"}, version, strict=True)


def test_objects_are_within_the_bounds_of_the_api() -> None:
    for body in everything():
        name, labels = body["metadata"]["name"], body["metadata"]["labels"]
        assert len(name) <= 253
        assert all(len(value) <= 63 for value in labels.values())
        if body["kind"] == "ConfigMap":
            # etcd takes 1 MiB.
            assert sum(len(text.encode()) for text in body["data"].values()) < 512 * 1024
