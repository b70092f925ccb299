"""An environment's way to the network: opened with it, found again by the next host process."""

from pathlib import Path

from contracts.egress import Egress
from contracts.environment import EnvironmentSpec
from environments.egress import EgressProxy
from environments.operator_resolver import Resolver
from environments.provider import Reference


class WayOut:
    """The proxy's sockets for the environments of one provider, with the rules of each."""

    def __init__(self, proxy: EgressProxy | None, resolver: Resolver) -> None:
        """Args: `proxy` serves them, nobody when None; `resolver` knows the networks opened."""
        self._proxy = proxy
        self._resolver = resolver

    def wanted(self, spec: EnvironmentSpec) -> bool:
        """Whether an environment gets a way out."""
        return self._proxy is not None and spec.egress is not None and spec.egress.mode != "none"

    async def open(self, name: str, path: Path, spec: EnvironmentSpec) -> None:
        """Listen for an environment whose specification wants it.

        Args:
            name: the environment's.
            path: of the socket, in a directory that is there. See `EgressProxy.open`.
            spec: how it was asked for.
        """
        if spec.egress is not None:
            await self._listen(name, path, spec.egress, spec.subnets)

    @staticmethod
    def remembered(spec: EnvironmentSpec) -> Reference:
        """What a reference keeps, so that `reopen` finds the rules again."""
        if spec.egress is None:
            return {}
        return {"egress": spec.egress.model_dump_json(), "subnets": ",".join(spec.subnets)}

    async def reopen(self, name: str, path: Path, reference: Reference) -> bool:
        """Listen again for an environment that an earlier host process started.

        Returns:
            Whether it has a way out.
        """
        if self._proxy is None or "egress" not in reference:
            return False
        egress = Egress.model_validate_json(str(reference["egress"]))
        if egress.mode == "none":
            return False
        subnets = tuple(filter(None, str(reference["subnets"]).split(",")))
        await self._listen(name, path, egress, subnets)
        return True

    async def close(self, name: str) -> None:
        """Stop listening, and cut what is connected. Idempotent."""
        if self._proxy is not None:
            await self._proxy.close(name)

    async def _listen(
        self, name: str, path: Path, egress: Egress, subnets: tuple[str, ...]
    ) -> None:
        if self._proxy is not None:
            await self._proxy.open(name, path, self._resolver.rules(egress, subnets))
