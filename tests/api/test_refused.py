"""What AWS serves and this server does not yet: refused by name wherever it may be asked for."""

from typing import Any

import pytest

from tests.api.conftest import ROLE, ApiProcess
from tests.api.raw import call
from tests.api.test_rejections import HELLO, SESSION, invoke_path

ACCOUNT_ARN = "arn:aws:{}:us-east-1:000000000000:{}"
RUNTIME = "environment.agentCoreRuntimeEnvironment"
LAMBDA = {"lambda": {"arn": ACCOUNT_ARN.format("lambda", "function:guard")}}
MCP = {"remoteMcp": {"url": "https://mcp.example/mcp"}}
GATEWAY = {
    "agentCoreGateway": {
        "gatewayArn": ACCOUNT_ARN.format("bedrock-agentcore", "gateway/docs-0123456789")
    }
}
VPC = {
    "networkMode": "VPC",
    "networkModeConfig": {"subnets": ["subnet-01234567"], "securityGroups": ["sg-01234567"]},
}
EFS = {
    "efsAccessPoint": {
        "accessPointArn": ACCOUNT_ARN.format(
            "elasticfilesystem", "access-point/fsap-0123456789abcdef0"
        ),
        "mountPath": "/mnt/shared",
    }
}


def runtime(**members: Any) -> dict[str, Any]:
    return {"environment": {"agentCoreRuntimeEnvironment": members}}


def tool(kind: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"tools": [{"type": kind, **({"config": config} if config else {})}]}


Refusal = tuple[str, dict[str, Any], str]

#: (row, member of CreateHarness, the field that the answer names)
REFUSED: list[Refusal] = [
    ("harness.skills", {"skills": [{"path": "skills/refunds"}]}, "skills"),
    ("harness.skills", {"skills": [{"s3": {"uri": "s3://bucket/skills/a/"}}]}, "skills"),
    ("harness.skills", {"skills": [{"git": {"url": "https://git.example/skills"}}]}, "skills"),
    ("harness.skills", {"skills": [{"awsSkills": {}}]}, "skills"),
    ("harness.hooks", {"hooks": [{"beforeInvocation": {"name": "h", "target": LAMBDA}}]}, "hooks"),
    (
        "harness.image",
        {"environmentArtifact": {"containerConfiguration": {"containerUri": "public.ecr.aws/a/b"}}},
        "environmentArtifact.containerConfiguration.containerUri",
    ),
    (
        "harness.vpc",
        runtime(networkConfiguration=VPC),
        f"{RUNTIME}.networkConfiguration.networkModeConfig.subnets[0]",
    ),
    (
        "harness.mounts",
        runtime(filesystemConfigurations=[EFS]),
        f"{RUNTIME}.filesystemConfigurations[0].efsAccessPoint.accessPointArn",
    ),
    ("harness.memory", {"memory": {"managedMemoryConfiguration": {}}}, "memory"),
    (
        "harness.memory",
        {
            "memory": {
                "agentCoreMemoryConfiguration": {
                    "arn": ACCOUNT_ARN.format("bedrock-agentcore", "memory/mem-0123456789")
                }
            }
        },
        "memory",
    ),
    ("harness.memory-unknown", {"memory": {"unheardOf": {}}}, "memory.unheardOf"),
    ("invoke.unknown-members", {"surprise": 1}, "surprise"),
    ("tools.remote-mcp", tool("remote_mcp", MCP), "tools[0].type"),
    ("tools.gateway", tool("agentcore_gateway", GATEWAY), "tools[0].type"),
    ("tools.browser", tool("agentcore_browser"), "tools[0].type"),
    ("tools.code-interpreter", tool("agentcore_code_interpreter"), "tools[0].type"),
]


REFUSED_UPDATES: list[Refusal] = [
    ("harness.update-skills", {"skills": [{"path": "skills/refunds"}]}, "skills"),
    REFUSED[4],
    (
        "harness.memory",
        {"memory": {"optionalValue": {"managedMemoryConfiguration": {}}}},
        "memory",
    ),
]

REFUSED_INVOCATIONS: list[Refusal] = [
    ("override.skills", {"skills": [{"path": "skills/refunds"}]}, "skills"),
    ("tools.remote-mcp", tool("remote_mcp", MCP), "tools[0].type"),
    *(
        ("override.nothing-else", {name: {}}, name)
        for name in ("hooks", "memory", "truncation", "environment", "authorizerConfiguration")
    ),
    *(
        (
            "invoke.foreign-tools",
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": [
                            {"toolUse": {"toolUseId": "a", "name": "b", "input": {}, **extra}}
                        ],
                    },
                    {
                        "role": "user",
                        "content": [{"toolResult": {"toolUseId": "a", "content": []}}],
                    },
                ]
            },
            f"messages[0].content[0].toolUse.{next(iter(extra))}",
        )
        for extra in ({"type": "server_tool_use"}, {"serverName": "docs"})
    ),
]


def marked(*rows: Refusal) -> list[Any]:
    return [
        pytest.param(members, field, marks=pytest.mark.wire(row), id=f"{row}-{index}")
        for index, (row, members, field) in enumerate(rows)
    ]


@pytest.mark.parametrize(("members", "field"), marked(*REFUSED))
def test_a_harness_is_not_made_without_what_it_asks_for(
    api: ApiProcess, members: dict[str, Any], field: str
) -> None:
    body = {"harnessName": "asks", "executionRoleArn": ROLE, **members}
    answer = call(api.port, "POST", "/harnesses", body)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.fields[0] == field


@pytest.mark.parametrize(("members", "field"), marked(*REFUSED_UPDATES))
def test_no_update_brings_it_in(
    api: ApiProcess, control: Any, members: dict[str, Any], field: str
) -> None:
    name = f"u{abs(hash(str(members))) % 10**8}"
    made = control.create_harness(harnessName=name, executionRoleArn=ROLE)
    path = f"/harnesses/{made['harness']['harnessId']}"
    answer = call(api.port, "PATCH", path, members)
    assert (answer.status, answer.fields) == (400, [field])
    assert call(api.port, "GET", path).json["harness"]["harnessVersion"] == "1"


@pytest.mark.parametrize(("members", "field"), marked(*REFUSED_INVOCATIONS))
def test_no_invocation_brings_it_in(
    api: ApiProcess, control: Any, members: dict[str, Any], field: str
) -> None:
    name = f"i{abs(hash(str(members))) % 10**8}"
    made = control.create_harness(harnessName=name, executionRoleArn=ROLE)
    path = invoke_path(made["harness"]["arn"])
    answer = call(api.port, "POST", path, {"messages": HELLO, **members}, {SESSION: "s" * 33})
    assert (answer.status, answer.error, answer.fields) == (400, "ValidationException", [field])
