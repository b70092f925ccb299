"""Which kind of environment a sandbox host owns, by its settings."""

from contracts.settings import Settings
from environments.bubblewrap import Bubblewrap
from environments.docker import Docker
from environments.provider import EnvironmentProvider


def make_provider(settings: Settings) -> EnvironmentProvider:
    """The provider that EVERLOOP_ENGINE names."""
    if settings.engine == "docker":
        return Docker(settings.data_dir, engine=settings.docker_host, image=settings.image)
    return Bubblewrap(settings.data_dir)
