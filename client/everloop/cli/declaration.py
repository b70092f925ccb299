"""A harness as a file declares it, and what it takes to make the real one match.

The file holds CreateHarness's members in YAML or JSON, under `extensions` Everloop's own, and under
`endpoints` the named endpoints. It is the whole truth: a member that it does not name has its
default.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from everloop.cli.aws import Aws, Json
from everloop.cli.change import comparable, update_request
from everloop.cli.create import DEFAULT_ROLE
from everloop.cli.declared_endpoints import (
    SECTION,
    EndpointPlan,
    carry_out_endpoints,
    plan_endpoints,
    read_endpoints,
)
from everloop.cli.defaults import whole
from everloop.cli.errors import ApiError, UsageError
from everloop.cli.output import to_json
from everloop.cli.own_api import get, send
from everloop.cli.settle import settled_harness

_NAME, _TAGS, _TOKEN = "harnessName", "tags", "clientToken"
_EXTENSIONS, _ENDPOINTS = "extensions", SECTION


@dataclass(frozen=True)
class Plan:
    """What would change.

    Attributes:
        name: the harness's name.
        current: the newest version as GetHarness shows it; None when there is no such harness.
        wanted: the members to send: all of the file's to create, those that differ to update.
        extensions: Everloop's own members to send; None when they match.
        tags: the tags to set and the keys to remove; None when they match.
        endpoints: the endpoints to create, move and delete.
        diff: lines of a unified diff, from what is to what is declared; empty when all matches.
    """

    name: str
    current: Json | None
    wanted: Json
    extensions: Json | None
    tags: tuple[dict[str, str], list[str]] | None
    endpoints: EndpointPlan
    diff: tuple[str, ...]


def read(path: Path) -> Json:
    """The members that a file declares.

    Raises:
        UsageError: it cannot be read, or is no declaration.
    """
    import yaml

    try:
        value: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path}: must hold a mapping of a harness's members")
    members = cast(Json, value)
    if not isinstance(members.get(_NAME), str):
        raise UsageError(f"{path}: must name the harness: harnessName: my_agent")
    if _TOKEN in members:
        raise UsageError(f"{path}: clientToken has no place in a file; each run has its own")
    return members


def plan(aws: Aws, declared: Json, *, prune: bool = False) -> Plan:
    """Compare a declaration with the harness of its name.

    Args:
        aws: the API.
        declared: what `read` gave.
        prune: whether endpoints that the file does not have are deleted.

    Raises:
        UsageError: the API has no way to what is declared.
    """
    name: str = declared[_NAME]
    extensions: Json | None = declared.get(_EXTENSIONS)
    endpoints = read_endpoints(declared.get(_ENDPOINTS))
    declared = {key: declared[key] for key in declared if key not in (_EXTENSIONS, _ENDPOINTS)}
    found = [one for one in aws.list_harnesses() if one[_NAME] == name]
    if not found:
        wanted = {"executionRoleArn": DEFAULT_ROLE, **declared}
        own = {_EXTENSIONS: extensions, _ENDPOINTS: endpoints}
        shown = {**wanted, **{key: value for key, value in own.items() if value}}
        points = plan_endpoints(aws, None, endpoints, new_version=True, prune=prune)
        return Plan(name, None, wanted, extensions, None, points, _diff({}, shown))
    current = aws.get_harness(found[0]["harnessId"])
    before, wanted = _member_changes(current, declared)
    after = {member: value for member, value in wanted.items() if value is not None}
    tags = _tag_changes(aws, current["arn"], declared.get(_TAGS) or {})
    if tags is not None:
        before[_TAGS], after[_TAGS] = tags[2], declared.get(_TAGS) or {}
    changed = _extension_changes(aws, current["harnessId"], extensions)
    if changed is not None:
        before[_EXTENSIONS], after[_EXTENSIONS] = changed
    extensions = (extensions or {}) if changed is not None else None
    new_version = bool(wanted) or extensions is not None
    points = plan_endpoints(aws, current, endpoints, new_version=new_version, prune=prune)
    if points.before or points.after:
        before[_ENDPOINTS], after[_ENDPOINTS] = points.before, points.after
    put = None if tags is None else tags[:2]
    return Plan(name, current, wanted, extensions, put, points, _diff(before, after))


def carry_out(aws: Aws, made: Plan, *, wait: bool) -> Json:
    """Create or update; the harness as it then is, settled when that is waited for."""
    if made.current is None:
        answer = aws.create_harness(made.wanted, extensions=made.extensions)
        harness = settled_harness(aws, answer, wait=wait)
    else:
        harness = _update(aws, made.current, made, wait=wait)
    carry_out_endpoints(aws, harness, made.endpoints, wait=wait)
    return harness


def _update(aws: Aws, harness: Json, made: Plan, *, wait: bool) -> Json:
    if made.wanted or made.extensions is not None:
        request = update_request(harness["harnessId"], made.wanted)
        answer = aws.update_harness(request, extensions=made.extensions)
        harness = settled_harness(aws, answer, wait=wait)
    if made.tags is not None:
        put, gone = made.tags
        if gone:
            aws.control("untag_resource", resourceArn=harness["arn"], tagKeys=gone)
        if put:
            aws.control("tag_resource", resourceArn=harness["arn"], tags=put)
    return harness


def _member_changes(current: Json, declared: Json) -> tuple[Json, Json]:
    """The members that differ: as they are, without those that are absent, and as declared.

    Raises:
        UsageError: a member would have to be taken away that UpdateHarness cannot take away.
    """
    are: Json = {}
    wanted: Json = {}
    for member, value in whole(declared).items():
        if member in (_NAME, _TAGS):
            continue
        shown = comparable(member, value, current)
        if shown == value:
            continue
        if member == "maxTokens" and value is None:
            raise UsageError(
                "the file does not name maxTokens, and UpdateHarness cannot take it away from "
                f"version {current['harnessVersion']}; name one that is never reached, such as "
                "maxTokens: 100000000, or delete the harness and apply the file again"
            )
        wanted[member] = value
        if shown is not None:
            are[member] = shown
    return are, wanted


def _extension_changes(aws: Aws, harness_id: str, wanted: Json | None) -> tuple[Json, Json] | None:
    """What the newest version has and what it would have, as the API writes them, when they differ.

    An API that knows no extensions, as AWS's own, has none to take away.
    """
    path = ("harnesses", harness_id, "extensions")
    try:
        are: Json = get(aws.connection, *path)["extensions"]
    except ApiError:
        if wanted is None:
            return None
        raise
    if not (are or wanted):
        return None
    answer = send(aws.connection, "PUT", *path, query={"dryRun": "true"}, body=wanted or {})
    would_be: Json = answer["extensions"]
    return None if are == would_be else (are, would_be)


def _tag_changes(
    aws: Aws, arn: str, wanted: dict[str, str]
) -> tuple[dict[str, str], list[str], dict[str, str]] | None:
    are: dict[str, str] = aws.control("list_tags_for_resource", resourceArn=arn)["tags"]
    put = {key: value for key, value in wanted.items() if are.get(key) != value}
    gone = [key for key in are if key not in wanted]
    return (put, gone, are) if put or gone else None


def _diff(before: Json, after: Json) -> tuple[str, ...]:
    lines = difflib.unified_diff(_lines(before), _lines(after), "now", "declared", lineterm="", n=2)
    return tuple(lines)


def _lines(members: Json) -> list[str]:
    """One line for each value, in an order that does not depend on who wrote it."""
    shown: list[str] = []
    for name in sorted(members):
        text = to_json(_sorted(members[name]), indent=2)
        shown += f"{name}: {text}".splitlines()
    return shown


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        entries = cast(Json, value)
        return {key: _sorted(entries[key]) for key in sorted(entries)}
    if isinstance(value, list):
        return [_sorted(item) for item in cast(list[Any], value)]
    return value
