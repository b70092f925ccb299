"""The endpoints that a file declares, and what it takes to make the real ones match.

`endpoints` maps a name to its version, or to a version and a description. The version `latest` is
the one that the file itself describes: applying the file moves the endpoint along.
"""

from dataclasses import dataclass
from typing import Any, cast

from everloop.cli.aws import Aws, Json
from everloop.cli.errors import CommandError, UsageError
from everloop.cli.settle import settled_endpoint, settled_harness

SECTION = "endpoints"
LATEST = "latest"
#: It follows the newest version by itself and cannot be pointed elsewhere.
_DEFAULT = "DEFAULT"
_MEMBERS = {"version", "description"}


@dataclass(frozen=True)
class EndpointPlan:
    """What would change of a harness's named endpoints.

    Attributes:
        before: those that would change, as the file would write them.
        after: the same as they would be.
        left: names that the file does not have and that stay.
    """

    before: Json
    after: Json
    left: tuple[str, ...]


def read_endpoints(declared: Any) -> Json:
    """The endpoints of a file, each with `version` and perhaps `description`.

    Raises:
        UsageError: they are not written as a file may write them.
    """
    if declared is None:
        return {}
    if not isinstance(declared, dict):
        raise UsageError(f"{SECTION}: must map names to versions, such as prod: 3")
    wanted = cast(dict[Any, Any], declared)
    return {str(name): _read_one(str(name), value) for name, value in wanted.items()}


def plan_endpoints(
    aws: Aws, current: Json | None, wanted: Json, *, new_version: bool, prune: bool
) -> EndpointPlan:
    """Compare declared endpoints with those that a harness has.

    Args:
        aws: the API.
        current: the newest version of the harness; None when it has to be created.
        wanted: what `read_endpoints` gave.
        new_version: whether a version will be made, so that no endpoint is at the latest yet.
        prune: whether endpoints that the file does not have are deleted.

    Raises:
        UsageError: the API has no way to what is wanted.
    """
    are = _endpoints(aws, current["harnessId"]) if current is not None else {}
    latest = current["harnessVersion"] if current is not None and not new_version else None
    others = tuple(name for name in are if name not in wanted)
    before: Json = {name: are[name] for name in others} if prune else {}
    after: Json = {}
    for name, one in wanted.items():
        is_ = are.get(name)
        if is_ is not None and "description" in is_ and "description" not in one:
            raise UsageError(
                f"{SECTION}.{name}: has a description, and UpdateHarnessEndpoint cannot take it "
                "away; give another one"
            )
        version = latest if one["version"] == LATEST else one["version"]
        if is_ is None or is_ != {**one, "version": version}:
            after[name] = one
            if is_ is not None:
                before[name] = is_
    return EndpointPlan(before, after, () if prune else others)


def carry_out_endpoints(aws: Aws, harness: Json, made: EndpointPlan, *, wait: bool) -> None:
    """Create, move and delete endpoints.

    Args:
        aws: the API.
        harness: the harness, with its newest version.
        made: the plan.
        wait: whether to wait for the endpoints too; the harness always has to be READY first.

    Raises:
        CommandError: the harness does not become READY, or an endpoint's change fails.
    """
    if not (made.before or made.after):
        return
    harness = _ready(aws, harness)
    for name in sorted(made.before.keys() | made.after.keys()):
        which = {"harnessId": harness["harnessId"], "endpointName": name}
        if name not in made.after:
            answer = aws.control("delete_harness_endpoint", **which)
            settled_endpoint(aws, answer["endpoint"], wait=wait)
            continue
        one: Json = made.after[name]
        version = harness["harnessVersion"] if one["version"] == LATEST else one["version"]
        members = {**one, "targetVersion": version}
        del members["version"]
        verb = "update" if name in made.before else "create"
        answer = aws.control(f"{verb}_harness_endpoint", **which, **members)
        settled_endpoint(aws, answer["endpoint"], wait=wait)


def _endpoints(aws: Aws, harness_id: str) -> Json:
    """The named endpoints that are there, as a file would write them."""
    found = aws.control_pages("list_harness_endpoints", "endpoints", harnessId=harness_id)
    shown: Json = {}
    for one in found:
        if one["endpointName"] != _DEFAULT:
            described = {"description": one["description"]} if one.get("description") else {}
            shown[one["endpointName"]] = {"version": one["targetVersion"], **described}
    return shown


def _read_one(name: str, value: Any) -> Json:
    one = cast(Json, value) if isinstance(value, dict) else {"version": value}
    if name == _DEFAULT:
        raise UsageError(f"{SECTION}.{name}: follows the newest version by itself; leave it out")
    if unknown := one.keys() - _MEMBERS:
        raise UsageError(f"{SECTION}.{name}: has no {', '.join(map(str, unknown))}")
    version = str(one.get("version", LATEST))
    if version != LATEST and not version.isdecimal():
        raise UsageError(f"{SECTION}.{name}: version must be a number or {LATEST}")
    description = one.get("description")
    return {"version": version, **({"description": str(description)} if description else {})}


def _ready(aws: Aws, harness: Json) -> Json:
    harness = settled_harness(aws, harness, wait=True)
    if harness["status"] != "READY":
        why = harness.get("failureReason") or "its endpoints cannot be set"
        raise CommandError(f"{harness['harnessName']} is {harness['status']}: {why}")
    return harness
