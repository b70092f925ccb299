"""A harness's members: as created, as GetHarness shows them, and as UpdateHarness takes them.

UpdateHarness has three members in a wrapper, and cannot take `maxTokens` away again.
"""

from typing import Any, cast

from everloop.cli.aws import Json
from everloop.cli.errors import UsageError

_WRAPPED = ("memory", "environmentArtifact", "authorizerConfiguration")
_PLAIN = (
    "executionRoleArn",
    "model",
    "systemPrompt",
    "tools",
    "skills",
    "allowedTools",
    "truncation",
    "maxIterations",
    "maxTokens",
    "timeoutSeconds",
)
#: What an update sends to take away a member that is not shown.
_EMPTY: Json = {"environmentVariables": {}, "hooks": []}
_RUNTIME = "agentCoreRuntimeEnvironment"
#: What of an environment an update may send; the rest is only shown.
_RUNTIME_PARTS = ("lifecycleConfiguration", "networkConfiguration")


def update_request(harness_id: str, members: Json) -> Json:
    """The UpdateHarness request that gives a harness these members; None takes one away."""
    request: Json = {"harnessId": harness_id}
    for name, value in members.items():
        if name in _WRAPPED:
            request[name] = {} if value is None else {"optionalValue": value}
        else:
            request[name] = value
    return request


def restore_request(newest: Json, old: Json) -> Json:
    """The UpdateHarness request that makes a version like an older one of the same harness.

    Args:
        newest: the newest version, as GetHarness shows it.
        old: the older one.

    Raises:
        UsageError: the API has no way back.
    """
    if "maxTokens" in newest and "maxTokens" not in old:
        raise UsageError(
            f"version {old['harnessVersion']} has no maxTokens, and UpdateHarness cannot take it "
            f"away from version {newest['harnessVersion']}; point an endpoint at the old version "
            "instead: everloop endpoint create"
        )
    request: Json = {"harnessId": old["harnessId"]}
    request |= {name: old[name] for name in _PLAIN if name in old}
    request |= {name: old.get(name, empty) for name, empty in _EMPTY.items()}
    for name in _WRAPPED:
        request[name] = {"optionalValue": old[name]} if name in old else {}
    shown: Json = old["environment"][_RUNTIME]
    runtime = {name: shown[name] for name in _RUNTIME_PARTS if name in shown}
    runtime["filesystemConfigurations"] = shown.get("filesystemConfigurations", [])
    request["environment"] = {_RUNTIME: runtime}
    return request


def comparable(name: str, wanted: Any, shown: Json) -> Any:
    """What is shown of a member, without what the API adds to what was asked for.

    Args:
        name: the member.
        wanted: what is asked for.
        shown: the harness as GetHarness shows it.
    """
    value = shown.get(name)
    if name in _EMPTY:
        return value or _EMPTY[name]
    if name == "environment" and isinstance(wanted, dict):
        runtime: Json = shown["environment"][_RUNTIME]
        asked: Json = cast(Json, wanted).get(_RUNTIME) or {}
        return {_RUNTIME: {part: _of(runtime.get(part), asked[part]) for part in asked}}
    if name == "tools" and isinstance(wanted, list):
        tools: list[Json] = shown["tools"]
        given = cast(list[Json], wanted)
        return [
            tool if index >= len(given) or "name" in given[index] else _without_name(tool)
            for index, tool in enumerate(tools)
        ]
    return value


def _of(value: Any, asked: Any) -> Any:
    """The parts of a structure that are asked for; a list as it is."""
    if isinstance(value, dict) and isinstance(asked, dict):
        return {key: one for key, one in cast(Json, value).items() if key in asked}
    return [] if value is None else cast(Any, value)


def _without_name(tool: Json) -> Json:
    return {key: value for key, value in tool.items() if key != "name"}
