"""Which kind of environment a sandbox host owns, by its settings."""

from contracts.settings import Settings
from environments.bubblewrap import Bubblewrap
from environments.docker import Docker
from environments.egress import EgressProxy
from environments.kubernetes import ClusterOptions, Kubernetes
from environments.operator_resolver import Resolver
from environments.provider import EnvironmentProvider
from store import MapSource


def make_provider(settings: Settings, proxy: EgressProxy, owner: str) -> EnvironmentProvider:
    """The provider that EVERLOOP_ENGINE names.

    Args:
        settings: how the process is configured.
        proxy: the way to the network.
        owner: names the sandbox host where those of other databases have environments too.
    """
    operator = MapSource(settings.sandbox.map_file)
    resolver = Resolver(settings.sandbox, operator)
    if settings.engine == "docker":
        return Docker(
            settings.data_dir,
            engine=settings.docker_host,
            image=settings.image,
            volumes_dir=settings.volumes_dir,
            proxy=proxy,
            resolver=resolver,
        )
    if settings.engine == "kubernetes":
        options = ClusterOptions(
            namespace=settings.kubernetes_namespace,
            image=settings.image,
            volume_size=settings.kubernetes_volume_size,
            storage_class=settings.kubernetes_storage_class,
            runtime_class=settings.kubernetes_runtime_class,
            kubeconfig=settings.kubeconfig,
        )
        return Kubernetes(
            owner,
            options,
            settings.data_dir,
            volumes_dir=settings.volumes_dir,
            proxy=proxy,
            resolver=resolver,
        )
    return Bubblewrap(
        settings.data_dir,
        settings=settings.sandbox,
        proxy=proxy,
        operator=operator,
        volumes_dir=settings.volumes_dir,
    )
