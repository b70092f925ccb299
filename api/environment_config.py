"""A harness's environment: the wire's members to `contracts.harness.Environment`.

What only AWS can resolve, an access point, an image of ECR or a subnet, is taken when the operator
has put something in its place, and refused by name otherwise.
"""

import re
from dataclasses import dataclass
from typing import Any

from contracts.faults import Faults
from contracts.harness import (
    DEFAULT_SESSION_MOUNT,
    Environment,
    Filesystem,
    Lifecycle,
    Network,
)
from contracts.operator_map import OperatorMap, wanted_by
from contracts.overrides import check_between

#: The model's bounds are wider (to 1209600); the harness takes these (devguide, runtime sessions).
LIFECYCLE_BOUNDS_S = (60, 28800)
#: The most of each kind of file system, as AWS's guide and CLI have it.
FILESYSTEM_BOUNDS = {"sessionStorage": 1, "efsAccessPoint": 2, "s3FilesAccessPoint": 2}
#: Set by the environment itself, and different in each kind of environment.
OWN_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TMPDIR"})
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BASE = "environment.agentCoreRuntimeEnvironment"
_UNMAPPED = "is not mapped to {what} in this installation's EVERLOOP_ENVIRONMENTS_FILE"


@dataclass(frozen=True)
class Installation:
    """What this installation has for what only AWS can resolve.

    Attributes:
        operator: the operator's map.
        engine: the kind of its environments, as EVERLOOP_ENGINE names it.
    """

    operator: OperatorMap = OperatorMap()
    engine: str = "bubblewrap"

    @property
    def any_image(self) -> bool:
        """Whether images run as they are named, because the engine is one of containers."""
        return self.engine != "bubblewrap"


NOTHING_MAPPED = Installation()


def read_environment(
    params: dict[str, Any],
    faults: Faults,
    here: Installation,
    current: Environment | None = None,
) -> Environment:
    """The environment that a request asks for.

    Args:
        params: of CreateHarness, or of UpdateHarness with its wrappers taken off.
        faults: gets every member that is wrong.
        here: what this installation has in AWS's place.
        current: what parts that are absent keep; the defaults when None.
    """
    current = current or Environment()
    wire = part(part(params, "environment"), "agentCoreRuntimeEnvironment")
    lifecycle = part(wire, "lifecycleConfiguration")
    changes: dict[str, Any] = {"lifecycle": _lifecycle(lifecycle, faults, current.lifecycle)}
    if wire.get("networkConfiguration") is not None:
        changes["network"] = _network(wire["networkConfiguration"], faults, here.operator)
    if wire.get("filesystemConfigurations") is not None:
        changes["filesystems"] = _filesystems(wire["filesystemConfigurations"], faults, here)
    if "environmentVariables" in params:
        changes["variables"] = _variables(params["environmentVariables"], faults)
    if params.get("environmentArtifact"):
        changes["container_uri"] = _image(params["environmentArtifact"], faults, here)
    return current.model_copy(update=changes)


def _lifecycle(wire: dict[str, int], faults: Faults, current: Lifecycle) -> Lifecycle:
    path = f"{_BASE}.lifecycleConfiguration"
    for name, value in wire.items():
        check_between(value, *LIFECYCLE_BOUNDS_S, f"{path}.{name}", faults)
    lifecycle = Lifecycle.model_validate({**current.model_dump(by_alias=True), **wire})
    if lifecycle.idle_runtime_session_timeout > lifecycle.max_lifetime:
        if "idleRuntimeSessionTimeout" not in wire:
            return Lifecycle(
                idle_runtime_session_timeout=lifecycle.max_lifetime,
                max_lifetime=lifecycle.max_lifetime,
            )
        faults.add(
            f"{path}.idleRuntimeSessionTimeout",
            f"must be at most maxLifetime, {lifecycle.max_lifetime}",
        )
    return lifecycle


def _network(wire: dict[str, Any], faults: Faults, operator: OperatorMap) -> Network:
    path = f"{_BASE}.networkConfiguration"
    network = Network.model_validate(wire)
    if network.network_mode == "PUBLIC":
        if network.network_mode_config is not None:
            faults.add(f"{path}.networkModeConfig", "goes with networkMode VPC only")
        return network
    if network.network_mode_config is None:
        faults.add(f"{path}.networkModeConfig", "must be given with networkMode VPC")
    for index, subnet in enumerate(network.subnets):
        if subnet not in operator.subnets:
            faults.add(
                f"{path}.networkModeConfig.subnets[{index}]",
                _UNMAPPED.format(what="private networks"),
            )
    return network


def _filesystems(
    wire: list[dict[str, Any]], faults: Faults, here: Installation
) -> tuple[Filesystem, ...]:
    found: list[Filesystem] = []
    for index, entry in enumerate(wire):
        ((kind, config),) = entry.items()
        path = f"{_BASE}.filesystemConfigurations[{index}].{kind}"
        if kind not in FILESYSTEM_BOUNDS:
            faults.add(path, f"is not served; use {', '.join(FILESYSTEM_BOUNDS)}")
            continue
        one = Filesystem.model_validate(
            {**config, "kind": kind, "mountPath": config["mountPath"].rstrip("/")}
        )
        if sum(other.kind == kind for other in found) == FILESYSTEM_BOUNDS[kind]:
            faults.add(path, f"may stand at most {_TIMES[FILESYSTEM_BOUNDS[kind]]}")
        if one.mount_path in ("/mnt/.", "/mnt/.."):
            faults.add(f"{path}.mountPath", "must name a directory in /mnt")
        if any(other.mount_path == one.mount_path for other in found):
            faults.add(f"{path}.mountPath", "is another file system's already")
        if one.access_point_arn is not None:
            files = here.operator.access_points.get(one.access_point_arn)
            if files is None or not files.serves(here.engine):
                what = wanted_by(here.engine)
                faults.add(f"{path}.accessPointArn", _UNMAPPED.format(what=what))
        found.append(one)
    _keep_session_mount(found, faults)
    return tuple(found)


def _keep_session_mount(found: list[Filesystem], faults: Faults) -> None:
    """Refuse an access point where the session's own files are without being asked for."""
    if any(one.kind == "sessionStorage" for one in found):
        return
    for index, one in enumerate(found):
        if one.mount_path == DEFAULT_SESSION_MOUNT:
            faults.add(
                f"{_BASE}.filesystemConfigurations[{index}].{one.kind}.mountPath",
                "is where the session's own files are; give sessionStorage another mountPath",
            )


_TIMES = {1: "once", 2: "twice"}


def _variables(wire: dict[str, str], faults: Faults) -> dict[str, str]:
    for name, value in wire.items():
        path = f"environmentVariables[{name}]"
        if not _VARIABLE_NAME.fullmatch(name):
            faults.add(path, "its name must be letters, digits and _ and begin with no digit")
        elif name in OWN_VARIABLES:
            faults.add(path, "is set by the environment itself")
        if "\0" in value:
            faults.add(path, "must hold no NUL character")
    return wire


def _image(wire: dict[str, Any], faults: Faults, here: Installation) -> str:
    uri: str = wire["containerConfiguration"]["containerUri"]
    if uri not in here.operator.images and not here.any_image:
        faults.add(
            "environmentArtifact.containerConfiguration.containerUri",
            _UNMAPPED.format(what="a root file system"),
        )
    return uri


def part(wire: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is a structure; empty when it is absent."""
    return wire.get(name) or {}
