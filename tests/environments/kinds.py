"""Every kind of environment behind one way to make its provider."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

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
from tests.environments.cluster import cluster

KINDS = ("bubblewrap", "docker", "kubernetes")


class Make(Protocol):
    """Makes a provider for an owner of its own."""

    def __call__(
        self,
        owner: str,
        *,
        proxy: EgressProxy | None = None,
        settings: SandboxSettings | None = None,
        operator: MapSource | None = None,
    ) -> EnvironmentProvider: ...


@asynccontextmanager
async def makes(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncGenerator[Make]:
    """What makes providers of one kind, which find each other's environments by their owner."""
    if kind == "bubblewrap":

        def bubblewrap(
            owner: str,
            *,
            proxy: EgressProxy | None = None,
            settings: SandboxSettings | None = None,
            operator: MapSource | None = None,
        ) -> EnvironmentProvider:
            return Bubblewrap(path / owner, settings=settings, proxy=proxy, operator=operator)

        yield bubblewrap
        return
    engine: engines.Engine = request.getfixturevalue("engine")
    if kind == "docker":

        def docker(
            owner: str,
            *,
            proxy: EgressProxy | None = None,
            settings: SandboxSettings | None = None,
            operator: MapSource | None = None,
        ) -> EnvironmentProvider:
            resolver = Resolver(settings or SandboxSettings(), operator or MapSource(None))
            return Docker(
                path / owner,
                engine=engine.url,
                image=engines.IMAGE,
                proxy=proxy,
                resolver=resolver,
            )

        yield docker
        return
    async with cluster(engine, path / "cluster", sandboxes=False) as running:
        options = ClusterOptions(
            namespace="agents", image=engines.IMAGE, kubeconfig=running.kubeconfig
        )

        def kubernetes(
            owner: str,
            *,
            proxy: EgressProxy | None = None,
            settings: SandboxSettings | None = None,
            operator: MapSource | None = None,
        ) -> EnvironmentProvider:
            resolver = Resolver(settings or SandboxSettings(), operator or MapSource(None))
            return Kubernetes(owner, options, path / owner, proxy=proxy, resolver=resolver)

        yield kubernetes
