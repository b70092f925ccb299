"""A harness's definition: members of create, update and invoke requests to `contracts.harness`.

Members that are not served yet are refused by name, never dropped: a harness that silently lacked
its memory or its VPC would be worse than none.
"""

import re
from typing import Any

from api.authorizer_config import read_authorizer
from contracts.faults import Faults
from contracts.harness import (
    DEFAULT_SESSION_MOUNT,
    Environment,
    HarnessConfig,
    Lifecycle,
    Overrides,
    Truncation,
)
from contracts.overrides import check_between, overridable

#: The model's bounds are wider (to 1209600); the harness takes these (devguide, runtime sessions).
LIFECYCLE_BOUNDS_S = (60, 28800)
#: The transcript's window; sending more is the same as strategy none.
MAX_WINDOW_MESSAGES = 1_000_000

#: The member of `truncation.config` that goes with each strategy.
_TRUNCATION_CONFIG = {"sliding_window": "slidingWindow", "summarization": "summarization"}
#: AWS names no bounds. Strands, which it builds on, silently moves a ratio into these.
_TRUNCATION_BOUNDS: dict[tuple[str, str], tuple[float, float]] = {
    ("slidingWindow", "messagesCount"): (1, MAX_WINDOW_MESSAGES),
    ("summarization", "summaryRatio"): (0.1, 0.8),
    ("summarization", "preserveRecentMessages"): (0, MAX_WINDOW_MESSAGES),
}

#: Set by the environment itself, and different in each kind of environment.
OWN_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TMPDIR"})
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: Members that are refused when they hold anything.
_NOT_SERVED = ("skills", "hooks", "environmentArtifact")

#: Members that UpdateHarness has in a wrapper, `{"optionalValue": X}`.
_WRAPPED = ("memory", "environmentArtifact", "authorizerConfiguration")


def read_config(params: dict[str, Any]) -> HarnessConfig:
    """The configuration that a CreateHarness request asks for, with defaults filled in.

    Raises:
        ServiceError: ValidationException naming every member that is wrong or not served.
    """
    faults = Faults()
    _refuse_unserved(params, faults)
    members: dict[str, Any] = {"execution_role_arn": params["executionRoleArn"]}
    members |= overridable(params, faults)
    if "truncation" in params:
        members["truncation"] = _truncation(params["truncation"], faults)
    if "authorizerConfiguration" in params:
        members["authorizer_configuration"] = read_authorizer(
            params["authorizerConfiguration"], faults
        )
    members["environment"] = _environment(params, faults)
    faults.raise_if_any()
    return HarnessConfig(**members)


def read_update(config: HarnessConfig, params: dict[str, Any]) -> HarnessConfig:
    """The configuration that an UpdateHarness request makes of a harness's newest one.

    A member that is absent keeps what it is; a list, a map or a union that is there replaces the
    whole. The parts of `environment` are kept or replaced each by itself. A wrapper without a value
    clears its member: boto3 refuses to send null and sends `{}` instead.

    Raises:
        ServiceError: ValidationException naming every member that is wrong or not served.
    """
    faults = Faults()
    given = _unwrapped(params)
    _refuse_unserved(given, faults)
    members = overridable(given, faults)
    if "executionRoleArn" in given:
        members["execution_role_arn"] = given["executionRoleArn"]
    if "truncation" in given:
        members["truncation"] = _truncation(given["truncation"], faults)
    if "authorizerConfiguration" in params:
        wire = given.get("authorizerConfiguration")
        members["authorizer_configuration"] = read_authorizer(wire, faults) if wire else None
    members["environment"] = _environment(given, faults, config.environment)
    faults.raise_if_any()
    return config.model_copy(update=members)


def _unwrapped(params: dict[str, Any]) -> dict[str, Any]:
    """An update's members as CreateHarness has them; what is to be cleared is absent."""
    given = {name: value for name, value in params.items() if name not in _WRAPPED}
    for name in _WRAPPED:
        value = _part(params, name).get("optionalValue")
        if value is not None:
            given[name] = value
    return given


def read_overrides(params: dict[str, Any]) -> Overrides:
    """What an InvokeHarness request changes for its own invocation.

    Raises:
        ServiceError: ValidationException naming every member that is wrong or not served.
    """
    faults = Faults()
    _refuse_unserved(params, faults)
    members = overridable(params, faults)
    faults.raise_if_any()
    return Overrides(**members)


def _truncation(wire: dict[str, Any], faults: Faults) -> Truncation | None:
    config = _part(wire, "config")
    own = _TRUNCATION_CONFIG.get(wire["strategy"])
    for name in config:
        if name != own:
            faults.add(f"truncation.config.{name}", f"does not go with strategy {wire['strategy']}")
    for (member, name), (low, high) in _TRUNCATION_BOUNDS.items():
        value = _part(config, member).get(name)
        if value is not None:
            check_between(value, low, high, f"truncation.config.{member}.{name}", faults)
    return None if faults else Truncation.model_validate(wire)


def _environment(
    params: dict[str, Any], faults: Faults, current: Environment | None = None
) -> Environment:
    current = current or Environment()
    wire = _part(_part(params, "environment"), "agentCoreRuntimeEnvironment")
    base = "environment.agentCoreRuntimeEnvironment"
    network = _part(wire, "networkConfiguration")
    if network.get("networkMode", "PUBLIC") != "PUBLIC" or "networkModeConfig" in network:
        faults.add(f"{base}.networkConfiguration", "only networkMode PUBLIC is served")
    lifecycle = _part(wire, "lifecycleConfiguration")
    changes: dict[str, Any] = {"lifecycle": _lifecycle(lifecycle, base, faults, current.lifecycle)}
    filesystems: list[dict[str, Any]] | None = wire.get("filesystemConfigurations")
    if filesystems is not None:
        mount = _session_mount(filesystems, f"{base}.filesystemConfigurations", faults)
        changes["session_mount"] = mount or DEFAULT_SESSION_MOUNT
        changes["session_storage"] = mount is not None
    if "environmentVariables" in params:
        changes["variables"] = _variables(params["environmentVariables"], faults)
    return current.model_copy(update=changes)


def _lifecycle(wire: dict[str, int], base: str, faults: Faults, current: Lifecycle) -> Lifecycle:
    path = f"{base}.lifecycleConfiguration"
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


def _session_mount(wire: list[dict[str, Any]], path: str, faults: Faults) -> str | None:
    mount: str | None = None
    for index, entry in enumerate(wire):
        ((kind, config),) = entry.items()
        if kind != "sessionStorage":
            faults.add(f"{path}[{index}].{kind}", "is not served yet; use sessionStorage")
            continue
        if mount is not None:
            faults.add(f"{path}[{index}].sessionStorage", "may stand only once")
        mount = config["mountPath"].rstrip("/")
        if mount in ("/mnt/.", "/mnt/.."):
            faults.add(f"{path}[{index}].sessionStorage.mountPath", "must name a directory in /mnt")
    return mount


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


def _refuse_unserved(params: dict[str, Any], faults: Faults) -> None:
    for name in _NOT_SERVED:
        if params.get(name):
            faults.add(name, "is not served yet; leave it out")
    if "disabled" not in params.get("memory", {"disabled": {}}):
        faults.add("memory", 'is not served yet; leave it out or send {"disabled": {}}')


def _part(wire: dict[str, Any], name: str) -> dict[str, Any]:
    """A member that is a structure; empty when it is absent."""
    return wire.get(name) or {}
