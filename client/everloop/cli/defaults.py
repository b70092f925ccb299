"""A declaration made whole: what each member is that a file does not name.

AWS's documented and observed defaults, which CreateHarness fills in too; a test holds them against
the API. None stands for a member that a harness need not have.
"""

from typing import Any, cast

from everloop.cli.aws import Json
from everloop.cli.create import DEFAULT_ROLE

RUNTIME = "agentCoreRuntimeEnvironment"
IDLE_TIMEOUT_S = 900
MAX_LIFETIME_S = 28800

_WINDOW: Json = {"messagesCount": 150}
_SUMMARY: Json = {"summaryRatio": 0.3, "preserveRecentMessages": 10}

_DEFAULTS: Json = {
    "executionRoleArn": DEFAULT_ROLE,
    "model": {"bedrockModelConfig": {"modelId": "global.anthropic.claude-sonnet-4-6"}},
    "systemPrompt": [{"text": "You are a helpful assistant."}],
    "tools": [],
    "skills": [],
    "allowedTools": ["*"],
    "memory": {"disabled": {}},
    "truncation": {"strategy": "sliding_window", "config": {"slidingWindow": _WINDOW}},
    "hooks": [],
    "environment": {},
    "environmentArtifact": None,
    "environmentVariables": {},
    "authorizerConfiguration": None,
    "maxIterations": 75,
    "maxTokens": None,
    "timeoutSeconds": 3600,
}


def whole(declared: Json) -> Json:
    """Every member of a harness as a declaration wants it, written as GetHarness shows it.

    Args:
        declared: members of CreateHarness. What has a wrong type stays as it is: the API knows
            best how to refuse it.
    """
    named = {name: value for name, value in declared.items() if value is not None}
    members = {**_DEFAULTS, **named}
    members["environment"] = _environment(members["environment"])
    members["truncation"] = _truncation(members["truncation"])
    members["tools"] = _each(members["tools"], _tool)
    return members


def _environment(wanted: Any) -> Any:
    if not isinstance(wanted, dict):
        return wanted
    runtime = _part(wanted, RUNTIME)
    lifecycle = _part(runtime, "lifecycleConfiguration")
    longest = lifecycle.get("maxLifetime", MAX_LIFETIME_S)
    idle = min(IDLE_TIMEOUT_S, longest) if isinstance(longest, int) else IDLE_TIMEOUT_S
    filled: Json = {
        "networkConfiguration": {"networkMode": "PUBLIC"},
        **runtime,
        "lifecycleConfiguration": {
            "idleRuntimeSessionTimeout": idle,
            "maxLifetime": longest,
            **lifecycle,
        },
        "filesystemConfigurations": _each(
            runtime.get("filesystemConfigurations") or [], _filesystem
        ),
    }
    return {**cast(Json, wanted), RUNTIME: filled}


def _filesystem(wanted: Json) -> Json:
    """A mount, without the slash at its end that the API takes away."""
    shown: Json = {}
    for kind, config in wanted.items():
        mount = _part(wanted, kind).get("mountPath")
        shown[kind] = {**config, "mountPath": mount.rstrip("/")} if mount else config
    return shown


def _truncation(wanted: Any) -> Any:
    config = _part(wanted, "config")
    filled = dict(config)
    for name, defaults in (("slidingWindow", _WINDOW), ("summarization", _SUMMARY)):
        if isinstance(config.get(name), dict):
            filled[name] = {**defaults, **config[name]}
    return {**wanted, "config": filled} if config else wanted


def _tool(wanted: Json) -> Json:
    """A tool, with its schema out of the wrapper `json` that the API takes away."""
    function = _part(_part(wanted, "config"), "inlineFunction")
    schema = function.get("inputSchema")
    if not isinstance(schema, dict) or set(cast(Json, schema)) != {"json"}:
        return wanted
    return {**wanted, "config": {"inlineFunction": {**function, "inputSchema": schema["json"]}}}


def _part(value: Any, name: str) -> Json:
    """A member that is a structure; empty when there is none."""
    found: Any = cast(Json, value).get(name) if isinstance(value, dict) else None
    return cast(Json, found) if isinstance(found, dict) else {}


def _each(value: Any, change: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [change(item) if isinstance(item, dict) else item for item in cast(list[Any], value)]
