"""Bad requests: each is refused with AWS's error, and the answer names every member at fault."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import ROLE, ApiProcess
from tests.api.raw import call

SCHEMA: dict[str, Any] = {"type": "object"}
RUNTIME = "environment.agentCoreRuntimeEnvironment"
ARN = "arn:aws:bedrock-agentcore:us-east-1:000000000000:harness/absent-0123456789"
SESSION = "x-amzn-bedrock-agentcore-runtime-session-id"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]


def inline(schema: object = SCHEMA, **changes: Any) -> dict[str, Any]:
    config = {"inlineFunction": {"description": "d", "inputSchema": schema}}
    return {"type": "inline_function", "config": config, **changes}


def runtime(**members: Any) -> dict[str, Any]:
    return {"environment": {"agentCoreRuntimeEnvironment": members}}


def storage(*paths: str) -> list[dict[str, Any]]:
    return [{"sessionStorage": {"mountPath": path}} for path in paths]


SCHEMA_PATH = "tools[0].config.inlineFunction.inputSchema"

#: What CreateHarness is asked beside its required members, and the fields that the answer names.
BAD_HARNESSES: list[tuple[dict[str, Any], list[str]]] = [
    ({"harnessName": "1st"}, ["harnessName"]),
    ({"harnessName": "a\n"}, ["harnessName"]),
    ({"harnessName": 1}, ["harnessName"]),
    ({"harnessName": None}, ["harnessName"]),
    ({"clientToken": "short"}, ["clientToken"]),
    ({"executionRoleArn": "role"}, ["executionRoleArn"]),
    ({"surprise": 1}, ["surprise"]),
    ({"model": {}}, ["model"]),
    ({"model": {"bedrockModelConfig": {}}}, ["model.bedrockModelConfig.modelId"]),
    (
        {
            "model": {
                "bedrockModelConfig": {"modelId": "a"},
                "liteLlmModelConfig": {"modelId": "b"},
            }
        },
        ["model"],
    ),
    (
        {"model": {"bedrockModelConfig": {"modelId": "a", "temperature": 2.5, "topP": True}}},
        ["model.bedrockModelConfig.topP", "model.bedrockModelConfig.temperature"],
    ),
    (
        {"model": {"bedrockModelConfig": {"modelId": "a", "additionalParams": [1]}}},
        ["model.bedrockModelConfig.additionalParams"],
    ),
    (
        {"systemPrompt": [{"text": ""}, {"txt": "a"}]},
        ["systemPrompt[1].txt", "systemPrompt[0].text", "systemPrompt[1]"],
    ),
    ({"systemPrompt": [{"text": "\ud800"}]}, ["systemPrompt[0].text"]),
    ({"tools": [{"type": "shell"}]}, ["tools[0].type"]),
    ({"tools": [{"type": "remote_mcp"}]}, ["tools[0].type"]),
    ({"tools": [{"type": "inline_function"}]}, ["tools[0].config.inlineFunction"]),
    (
        {"tools": [{"type": "inline_function", "config": {"inlineFunction": {}}}]},
        ["tools[0].config.inlineFunction.description", SCHEMA_PATH],
    ),
    ({"tools": [inline(name="shell")]}, ["tools[0].name"]),
    ({"tools": [inline(name="two words")]}, ["tools[0].name"]),
    ({"tools": [inline(name="a"), inline(name="b"), inline(name="a")]}, ["tools[2].name"]),
    ({"tools": [inline(name="inline_function_1"), inline()]}, ["tools[1].name"]),
    ({"tools": [inline("text")]}, [SCHEMA_PATH]),
    ({"tools": [inline({"json": "text"})]}, [SCHEMA_PATH]),
    ({"tools": [inline({"type": "string"})]}, [f"{SCHEMA_PATH}.type"]),
    ({"tools": [inline({})]}, [f"{SCHEMA_PATH}.type"]),
    ({"tools": [inline({"type": "object", "required": "a"})]}, [f"{SCHEMA_PATH}.required"]),
    (
        {"tools": [inline({"type": "object", "properties": {"a": {"pattern": "("}}})]},
        [f"{SCHEMA_PATH}.properties.a.pattern"],
    ),
    (
        {"tools": [inline({"type": "object", "anyOf": [{"$ref": "http://169.254.169.254/"}]})]},
        [SCHEMA_PATH],
    ),
    ({"allowedTools": ["a/b/c"]}, ["allowedTools[0]"]),
    (
        {"maxIterations": 0, "maxTokens": -1, "timeoutSeconds": 10**9},
        ["maxIterations", "maxTokens", "timeoutSeconds"],
    ),
    ({"maxIterations": 2**31}, ["maxIterations"]),
    ({"maxIterations": 1.5}, ["maxIterations"]),
    (
        {
            "model": {
                "liteLlmModelConfig": {
                    "modelId": "openai/m",
                    "additionalParams": {
                        "api_key": "k",
                        "seed": 1,
                        "extra_body": {"aws_secret_access_key": "s", "top_k": 2},
                    },
                }
            }
        },
        [
            "model.liteLlmModelConfig.additionalParams.api_key",
            "model.liteLlmModelConfig.additionalParams.aws_secret_access_key",
        ],
    ),
    (
        {
            "truncation": {
                "strategy": "summarization",
                "config": {"summarization": {"summaryRatio": 0.9, "preserveRecentMessages": -1}},
            }
        },
        [
            "truncation.config.summarization.summaryRatio",
            "truncation.config.summarization.preserveRecentMessages",
        ],
    ),
    (
        {"truncation": {"strategy": "summarization", "config": {"slidingWindow": {}}}},
        ["truncation.config.slidingWindow"],
    ),
    (
        {
            "truncation": {
                "strategy": "sliding_window",
                "config": {"slidingWindow": {"messagesCount": 0}},
            }
        },
        ["truncation.config.slidingWindow.messagesCount"],
    ),
    ({"memory": {"managedMemoryConfiguration": {}}}, ["memory"]),
    ({"memory": {}}, ["memory"]),
    ({"skills": [{"path": "a"}], "maxTokens": 0}, ["skills", "maxTokens"]),
    (
        {
            "authorizerConfiguration": {
                "customJWTAuthorizer": {
                    "discoveryUrl": "https://a/.well-known/openid-configuration"
                }
            }
        },
        ["authorizerConfiguration.customJWTAuthorizer"],
    ),
    (
        {"environmentArtifact": {"containerConfiguration": {"containerUri": "public.ecr.aws/a/b"}}},
        ["environmentArtifact.containerConfiguration.containerUri"],
    ),
    (
        runtime(networkConfiguration={"networkMode": "VPC"}),
        [f"{RUNTIME}.networkConfiguration.networkModeConfig"],
    ),
    (
        runtime(lifecycleConfiguration={"idleRuntimeSessionTimeout": 900, "maxLifetime": 600}),
        [f"{RUNTIME}.lifecycleConfiguration.idleRuntimeSessionTimeout"],
    ),
    (
        runtime(lifecycleConfiguration={"maxLifetime": 28801}),
        [f"{RUNTIME}.lifecycleConfiguration.maxLifetime"],
    ),
    (
        runtime(filesystemConfigurations=storage("/mnt/..")),
        [f"{RUNTIME}.filesystemConfigurations[0].sessionStorage.mountPath"],
    ),
    (
        runtime(filesystemConfigurations=storage("/mnt/aa", "/mnt/bb")),
        [f"{RUNTIME}.filesystemConfigurations[1].sessionStorage"],
    ),
    ({"environmentVariables": {"A=B": "c"}}, ["environmentVariables[A=B]"]),
    ({"environmentVariables": {"PATH": "/"}}, ["environmentVariables[PATH]"]),
    ({"environmentVariables": {"A": "\0"}}, ["environmentVariables[A]"]),
    ({"environmentVariables": {str(i): "" for i in range(51)}}, ["environmentVariables"]),
]


@pytest.mark.wire(
    "error.fields",
    "error.constraints",
    "tools.names",
    "tools.inline-schema",
    "allowed.grammar",
    "session.lifecycle",
    "session.storage",
    "truncation.config",
    "model.reserved-params",
    "harness.variables",
)
@pytest.mark.parametrize(("members", "fields"), BAD_HARNESSES, ids=lambda value: str(value)[:60])
def test_names_every_member_at_fault(api: ApiProcess, members: dict[str, Any], fields: list[str]):
    body = {"harnessName": "good", "executionRoleArn": ROLE, **members}
    answer = call(api.port, "POST", "/harnesses", body)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.json["reason"] == "FieldValidationFailed"
    assert answer.fields == fields
    assert all(each["message"] for each in answer.json["fieldList"])
    assert all(name in answer.json["message"] for name in fields)


@pytest.mark.wire("error.unparsable")
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"NaN", b'{"maxIterations": NaN}', b"[" * 100_000, b"9" * 5000],
    ids=lambda body: str(body)[:20],
)
def test_a_body_that_is_not_json_cannot_be_parsed(api: ApiProcess, body: bytes):
    answer = call(api.port, "POST", "/harnesses", body)
    assert (answer.status, answer.error) == (400, "ValidationException")
    if body:
        assert answer.json["reason"] == "CannotParse"
    else:
        assert answer.fields == ["harnessName", "executionRoleArn"]


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null"])
def test_a_body_that_is_no_object_is_refused(api: ApiProcess, body: bytes):
    answer = call(api.port, "POST", "/harnesses", body)
    assert (answer.status, answer.fields[0]) == (400, "body")


@pytest.mark.wire("invoke.bounds")
def test_a_deeply_nested_document_is_refused(api: ApiProcess):
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    body = {"harnessName": "deep", "executionRoleArn": ROLE, "tools": [inline(schema)]}
    answer = call(api.port, "POST", "/harnesses", body)
    assert (answer.status, answer.fields) == (400, [SCHEMA_PATH])


def test_an_infinite_number_is_refused(api: ApiProcess):
    body = (
        b'{"harnessName":"inf","executionRoleArn":"%s","model":{"bedrockModelConfig":'
        % ROLE.encode()
    )
    body += b'{"modelId":"a","additionalParams":{"a":1e999}}}}'
    answer = call(api.port, "POST", "/harnesses", body)
    assert answer.fields == ["model.bedrockModelConfig.additionalParams"]


def test_a_flood_of_faults_is_cut(api: ApiProcess):
    body = {"harnessName": "many", "executionRoleArn": ROLE, "allowedTools": [1] * 10_000}
    answer = call(api.port, "POST", "/harnesses", body)
    assert len(answer.fields) == 50


def test_refused_secrets_are_not_repeated(api: ApiProcess):
    config = {"modelId": "a", "apiKeyArn": "arn", "apiBase": 12345678}
    body = {"harnessName": "a", "executionRoleArn": ROLE, "model": {"openAiModelConfig": config}}
    answer = call(api.port, "POST", "/harnesses", body)
    assert "model.openAiModelConfig.apiBase" in answer.fields
    assert b"12345678" not in answer.body


@pytest.mark.wire("invoke.bounds")
def test_a_body_that_is_too_large_is_refused(api: ApiProcess):
    answer = call(api.port, "POST", "/harnesses", b" " * (6 * 1024 * 1024 + 1))
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "6291456 bytes" in answer.json["message"]


@pytest.mark.wire("invoke.bounds")
def test_headers_that_are_too_large_are_refused(api: ApiProcess):
    answer = call(api.port, "GET", "/harnesses", headers={"x-large": "a" * 33_000})
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "32768" in answer.json["message"]


@pytest.mark.wire("error.constraints")
@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("maxResults=0", ["maxResults"]),
        ("maxResults=101", ["maxResults"]),
        ("maxResults=ten", ["maxResults"]),
        ("maxResults=1&maxResults=2", ["maxResults"]),
        ("nextToken=", ["nextToken"]),
        ("nextToken=a%20b", ["nextToken"]),
        ("page=2", ["page"]),
    ],
)
def test_query_parameters_are_checked(api: ApiProcess, query: str, fields: list[str]):
    answer = call(api.port, "GET", f"/harnesses?{query}")
    assert (answer.status, answer.fields) == (400, fields)


@pytest.mark.wire("error.unknown-route", "error.request-id")
@pytest.mark.parametrize("path", ["/", "/harness", "/harnesses/", "/harnesses/a/b/c/d", "/%2e%2e"])
def test_a_path_that_no_operation_has_is_unknown(api: ApiProcess, path: str):
    answer = call(api.port, "GET", path)
    assert (answer.status, answer.error) == (404, "UnknownOperationException")
    assert f"GET {path}" in answer.json["message"]
    assert answer.headers["x-amzn-requestid"]


@pytest.mark.wire("auth.development")
@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("host", "rebound.example:8080"),
        ("origin", "https://page.example"),
        ("origin", "null"),
        ("host", "169.254.169.254"),
    ],
)
def test_a_web_page_is_denied(api: ApiProcess, header: str, value: str):
    answer = call(api.port, "GET", "/harnesses", headers={header: value})
    assert (answer.status, answer.error) == (403, "AccessDeniedException")
    assert header in answer.json["message"]


def invoke_path(arn: str = ARN, **query: str) -> str:
    rest = "".join(f"&{name}={value}" for name, value in query.items())
    return f"/harnesses/invoke?harnessArn={quote(arn, safe='')}{rest}"


BAD_MESSAGES: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"role": "system", "content": []}], ["messages[0].role"]),
    ([{"role": "user", "content": [{}]}], ["messages[0].content[0]"]),
    (
        [{"role": "user", "content": [{"image": {}}]}],
        ["messages[0].content[0].image", "messages[0].content[0]"],
    ),
    ([{"role": "user", "content": [{"text": ""}]}], ["messages[0].content[0].text"]),
    (
        [
            {
                "role": "assistant",
                "content": [{"toolUse": {"name": "a", "toolUseId": "b c", "input": {}}}],
            }
        ],
        ["messages[0].content[0].toolUse.toolUseId"],
    ),
]


@pytest.mark.wire("invoke.messages", "invoke.no-images")
@pytest.mark.parametrize(("messages", "fields"), BAD_MESSAGES, ids=lambda value: str(value)[:60])
def test_messages_are_checked(api: ApiProcess, messages: object, fields: list[str]):
    answer = call(api.port, "POST", invoke_path(), {"messages": messages}, {SESSION: "s" * 33})
    assert (answer.status, answer.fields) == (400, fields)


@pytest.mark.wire("invoke.session-id")
@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, ["runtimeSessionId"]),
        ({SESSION: "short"}, ["runtimeSessionId"]),
        ({SESSION: "s" * 101}, ["runtimeSessionId"]),
        ({SESSION: "-" * 33}, ["runtimeSessionId"]),
        ({SESSION: "s" * 33, "x-everloop-invocation-id": "a b"}, ["x-everloop-invocation-id"]),
        ({SESSION: "s" * 33, "x-everloop-if-busy": "wait"}, ["x-everloop-if-busy"]),
    ],
)
def test_invocation_headers_are_checked(
    api: ApiProcess, headers: dict[str, str], fields: list[str]
):
    answer = call(api.port, "POST", invoke_path(), {"messages": HELLO}, headers)
    assert (answer.status, answer.fields) == (400, fields)


@pytest.mark.wire("invoke.harness-arn", "invoke.harness-elsewhere")
@pytest.mark.parametrize(
    ("arn", "status", "error"),
    [
        (ARN, 404, "ResourceNotFoundException"),
        (ARN.replace("us-east-1", "eu-west-1"), 404, "ResourceNotFoundException"),
        (ARN.replace(":000000000000:", ":111111111111:"), 403, "AccessDeniedException"),
        ("arn", 400, "ValidationException"),
    ],
)
def test_foreign_harnesses_are_not_served(api: ApiProcess, arn: str, status: int, error: str):
    answer = call(api.port, "POST", invoke_path(arn), {"messages": HELLO}, {SESSION: "s" * 33})
    assert (answer.status, answer.error) == (status, error)
    assert arn in answer.json["message"] or "absent-0123456789" in answer.json["message"]


@pytest.mark.wire("error.form")
def test_the_answer_to_a_fault_is_json(api: ApiProcess):
    answer = call(api.port, "POST", "/harnesses", {})
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body)["message"] == (
        "harnessName: is required; executionRoleArn: is required"
    )
