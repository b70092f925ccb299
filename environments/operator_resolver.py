"""What an environment's specification means here: directories or claims, an image, networks."""

from pathlib import Path

from contracts.egress import Egress
from contracts.environment import EnvironmentSpec, SharedMount
from contracts.errors import EnvironmentUnavailable
from contracts.operator_map import OperatorMap, SharedFiles, wanted_by
from contracts.sandbox_settings import SandboxSettings
from environments.bubblewrap_profile import Mount
from environments.egress_rules import Rules, networks
from store import MapSource


class Resolver:
    """Looks names up in the operator's map, anew for each sandbox."""

    def __init__(self, settings: SandboxSettings, source: MapSource) -> None:
        """Args: `settings` has the private networks, `source` the map."""
        self._ranges = settings.private_ranges
        self._source = source

    @classmethod
    def of(cls, source: MapSource) -> "Resolver":
        """One that has a map, and opens no private network by itself."""
        return cls(SandboxSettings(), source)

    def shares(self, spec: EnvironmentSpec) -> list[Mount]:
        """The shared directories of an environment on this machine.

        Raises:
            EnvironmentUnavailable: one is not mapped to a directory, or it is not there.
        """
        mounts: list[Mount] = []
        for share, found in self._shared(spec):
            if found.directory is None:
                raise _not_mapped(share, "a directory")
            directory = _directory(found.directory, share.access_point_arn)
            mounts.append(Mount(directory, share.path, found.read_only))
        return mounts

    def cluster_shares(self, spec: EnvironmentSpec) -> list[tuple[SharedMount, SharedFiles]]:
        """The shared file systems of an environment in a cluster.

        Raises:
            EnvironmentUnavailable: one is mapped neither to a claim nor to an nfs export.
        """
        found = self._shared(spec)
        for share, files in found:
            if not files.serves("kubernetes"):
                raise _not_mapped(share, wanted_by("kubernetes"))
        return found

    def _shared(self, spec: EnvironmentSpec) -> list[tuple[SharedMount, SharedFiles]]:
        operator = self._map() if spec.shares else OperatorMap()
        found: list[tuple[SharedMount, SharedFiles]] = []
        for share in spec.shares:
            files = operator.access_points.get(share.access_point_arn)
            if files is None:
                raise _not_mapped(share, "anything")
            found.append((share, files))
        return found

    def image(self, spec: EnvironmentSpec) -> Path | None:
        """The root file system of the image that a sandbox has, if any.

        Raises:
            EnvironmentUnavailable: it is not mapped, or is not there.
        """
        if spec.image is None:
            return None
        image = self._map().images.get(spec.image)
        if image is None:
            raise EnvironmentUnavailable(
                f"the image {spec.image} is not mapped to a root file system here"
            )
        return _directory(image, spec.image)

    def rules(self, egress: Egress, subnets: tuple[str, ...]) -> Rules:
        """What a sandbox may reach: its harness's list, and the networks opened for it.

        Raises:
            EnvironmentUnavailable: the map cannot be read.
        """
        mapped = self._map().subnets if subnets else {}
        opened = [network for subnet in subnets for network in mapped.get(subnet, ())]
        return Rules(egress, networks((*self._ranges, *opened)))

    def _map(self) -> OperatorMap:
        try:
            return self._source.read()
        except (OSError, ValueError) as error:
            raise EnvironmentUnavailable(f"the operator's map cannot be read: {error}") from None


def _not_mapped(share: SharedMount, what: str) -> EnvironmentUnavailable:
    return EnvironmentUnavailable(
        f"the access point {share.access_point_arn} is not mapped to {what} here"
    )


def _directory(text: str, name: str) -> Path:
    directory = Path(text)
    if not directory.is_dir():
        raise EnvironmentUnavailable(f"what {name} is mapped to is not a directory on this machine")
    return directory
