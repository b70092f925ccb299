"""A harness's definition: members of create, update and invoke requests to `contracts.harness`.

Members that are not served yet are refused by name, never dropped: a harness that silently lacked
its memory or its VPC would be worse than none.
"""

from typing import Any

from api.authorizer_config import read_authorizer
from api.environment_config import NOTHING_MAPPED, Installation, part, read_environment
from contracts.faults import Faults
from contracts.harness import (
    HarnessConfig,
    Overrides,
    Truncation,
)
from contracts.overrides import check_between, overridable

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

#: Members that are refused when they hold anything.
_NOT_SERVED = ("skills", "hooks")

#: Members that UpdateHarness has in a wrapper, `{"optionalValue": X}`.
_WRAPPED = ("memory", "environmentArtifact", "authorizerConfiguration")


def read_config(params: dict[str, Any], here: Installation = NOTHING_MAPPED) -> HarnessConfig:
    """The configuration that a CreateHarness request asks for, with defaults filled in.

    Args:
        params: the request's.
        here: what this installation has for access points, images and subnets.

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
    members["environment"] = read_environment(params, faults, here)
    faults.raise_if_any()
    return HarnessConfig(**members)


def read_update(
    config: HarnessConfig, params: dict[str, Any], here: Installation = NOTHING_MAPPED
) -> HarnessConfig:
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
    members["environment"] = read_environment(given, faults, here, config.environment)
    if "environmentArtifact" in params and "environmentArtifact" not in given:
        members["environment"] = members["environment"].model_copy(update={"container_uri": None})
    faults.raise_if_any()
    return config.model_copy(update=members)


def _unwrapped(params: dict[str, Any]) -> dict[str, Any]:
    """An update's members as CreateHarness has them; what is to be cleared is absent."""
    given = {name: value for name, value in params.items() if name not in _WRAPPED}
    for name in _WRAPPED:
        value = part(params, name).get("optionalValue")
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
    config = part(wire, "config")
    own = _TRUNCATION_CONFIG.get(wire["strategy"])
    for name in config:
        if name != own:
            faults.add(f"truncation.config.{name}", f"does not go with strategy {wire['strategy']}")
    for (member, name), (low, high) in _TRUNCATION_BOUNDS.items():
        value = part(config, member).get(name)
        if value is not None:
            check_between(value, low, high, f"truncation.config.{member}.{name}", faults)
    return None if faults else Truncation.model_validate(wire)


def _refuse_unserved(params: dict[str, Any], faults: Faults) -> None:
    for name in _NOT_SERVED:
        if params.get(name):
            faults.add(name, "is not served yet; leave it out")
    if "disabled" not in params.get("memory", {"disabled": {}}):
        faults.add("memory", 'is not served yet; leave it out or send {"disabled": {}}')
