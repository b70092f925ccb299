"""A harness as a file declares it, and what it takes to make the real one match.

The file holds CreateHarness's members in YAML or JSON, and under `extensions` Everloop's own. What
it does not name is left as it is.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from everloop.cli.aws import Aws, Json
from everloop.cli.change import comparable, update_request
from everloop.cli.create import DEFAULT_ROLE
from everloop.cli.errors import UsageError
from everloop.cli.output import to_json
from everloop.cli.own_api import get, send

_NAME, _TAGS, _TOKEN = "harnessName", "tags", "clientToken"
_EXTENSIONS = "extensions"


@dataclass(frozen=True)
class Plan:
    """What would change.

    Attributes:
        name: the harness's name.
        current: the newest version as GetHarness shows it; None when there is no such harness.
        wanted: the members to send: all of the file's to create, those that differ to update.
        extensions: Everloop's own members to send; None when they match or the file has none.
        tags: the tags to set and the keys to remove, when the file has tags and they differ.
        diff: lines of a unified diff, from what is to what is declared; empty when all matches.
    """

    name: str
    current: Json | None
    wanted: Json
    extensions: Json | None
    tags: tuple[dict[str, str], list[str]] | None
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


def plan(aws: Aws, declared: Json) -> Plan:
    """Compare a declaration with the harness of its name."""
    name: str = declared[_NAME]
    extensions: Json | None = declared.get(_EXTENSIONS)
    declared = {key: value for key, value in declared.items() if key != _EXTENSIONS}
    found = [one for one in aws.list_harnesses() if one[_NAME] == name]
    if not found:
        wanted = {"executionRoleArn": DEFAULT_ROLE, **declared}
        shown = wanted if extensions is None else {**wanted, _EXTENSIONS: extensions}
        return Plan(name, None, wanted, extensions, None, _diff({}, shown))
    current = aws.get_harness(found[0]["harnessId"])
    is_: Json = {}
    wanted: Json = {}
    for member, value in declared.items():
        if member in (_NAME, _TAGS):
            continue
        shown = comparable(member, value, current)
        if shown != value:
            is_[member], wanted[member] = shown, value
    tags = _tag_changes(aws, current["arn"], declared)
    before, after = dict(is_), dict(wanted)
    if tags is not None:
        before[_TAGS], after[_TAGS] = tags[2], declared[_TAGS]
    if extensions is not None:
        are, would_be = _extensions(aws, current["harnessId"], extensions)
        if are == would_be:
            extensions = None
        else:
            before[_EXTENSIONS], after[_EXTENSIONS] = are, would_be
    put = None if tags is None else tags[:2]
    return Plan(name, current, wanted, extensions, put, _diff(before, after))


def carry_out(aws: Aws, made: Plan) -> Json:
    """Create or update; the harness as it then is."""
    if made.current is None:
        return aws.create_harness(made.wanted, extensions=made.extensions)
    harness = made.current
    if made.wanted or made.extensions is not None:
        request = update_request(harness["harnessId"], made.wanted)
        harness = aws.update_harness(request, extensions=made.extensions)
    if made.tags is not None:
        put, gone = made.tags
        if gone:
            aws.control("untag_resource", resourceArn=harness["arn"], tagKeys=gone)
        if put:
            aws.control("tag_resource", resourceArn=harness["arn"], tags=put)
    return harness


def _extensions(aws: Aws, harness_id: str, wanted: Json) -> tuple[Json, Json]:
    """What the newest version has, and what it would have: both as the API writes them."""
    path = ("harnesses", harness_id, "extensions")
    would_be = send(aws.connection, "PUT", *path, query={"dryRun": "true"}, body=wanted)
    return get(aws.connection, *path)["extensions"], would_be["extensions"]


def _tag_changes(
    aws: Aws, arn: str, declared: Json
) -> tuple[dict[str, str], list[str], dict[str, str]] | None:
    if _TAGS not in declared:
        return None
    wanted: dict[str, str] = declared[_TAGS] or {}
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
