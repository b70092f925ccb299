"""Every kind of environment behind one way to make its provider."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.sandbox_settings import SandboxSettings
from environments.bubblewrap import Bubblewrap
from environments.docker import Docker
from environments.egress import EgressProxy
from environments.kubernetes import ClusterOptions, Kubernetes
from environments.operator_resolver import Resolver
from environments.provider import EnvironmentProvider
from store import MapSource
from tests.environments import engine as engines
from tests.environments.cluster import Cluster, cluster

KINDS = ("bubblewrap", "docker", "kubernetes")

#: For tests of what a test beside them shows to work by each kind's own way.
thoroughly = pytest.mark.parametrize(
    "make",
    ["bubblewrap", *(pytest.param(each, marks=pytest.mark.thorough) for each in KINDS[1:])],
    indirect=True,
)


@dataclass(frozen=True)
class Make:
    """Makes providers of one kind, each for an owner of its own.

    Attributes:
        kind: which.
        path: has what they own.
        engine: runs containers and pods.
        cluster: has pods.
    """

    kind: str
    path: Path
    engine: engines.Engine | None = None
    cluster: Cluster | None = None

    def __call__(
        self,
        owner: str,
        *,
        proxy: EgressProxy | None = None,
        settings: SandboxSettings | None = None,
        operator: MapSource | None = None,
    ) -> EnvironmentProvider:
        settings, operator = settings or SandboxSettings(), operator or MapSource(None)
        data, resolver = self.path / owner, Resolver(settings, operator)
        if self.cluster is not None:
            options = ClusterOptions(
                namespace=self.cluster.namespace,
                image=engines.IMAGE,
                kubeconfig=self.cluster.kubeconfig,
            )
            return Kubernetes(owner, options, data, proxy=proxy, resolver=resolver)
        if self.engine is not None:
            url, image = self.engine.url, engines.IMAGE
            return Docker(data, engine=url, image=image, proxy=proxy, resolver=resolver)
        return Bubblewrap(data, settings=settings, proxy=proxy, operator=operator)

    def shared(self, name: str, *, read_only: bool = False) -> tuple[dict[str, Any], Path]:
        """A file system that sessions can share, for a map, and where tests see what is in it."""
        more: dict[str, Any] = {"readOnly": True} if read_only else {}
        if self.cluster is None:
            directory = self.path / name
            directory.mkdir()
            directory.chmod(0o777)
            return {"directory": str(directory), **more}, directory
        if read_only:
            export = {"server": "files.test", "path": f"/{name}"}
            return {"nfs": export, **more}, self.cluster.export(export)
        return {"claim": name, **more}, self.cluster.claim(name)

    def map_file(self, **members: Any) -> MapSource:
        """An operator's map with these members."""
        path = self.path / "map.json"
        path.write_text(json.dumps(members))
        return MapSource(path)


@asynccontextmanager
async def makes(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncGenerator[Make]:
    """What makes providers of one kind, which find each other's environments by their owner."""
    if kind == "bubblewrap":
        yield Make(kind, path)
        return
    engine: engines.Engine = request.getfixturevalue("engine")
    if kind == "docker":
        yield Make(kind, path, engine)
        return
    async with cluster(engine, path / "cluster", sandboxes=False) as running:
        yield Make(kind, path, engine, running)
