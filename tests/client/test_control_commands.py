"""The control plane's commands against a real API over a real database."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from everloop.cli.schema import harness_schema
from tests.api.conftest import ApiProcess, client, provisioned_api
from tests.everloop_command import run_everloop
from tests.provisioned import settling, temporal_server

ROOT = Path(__file__).parents[2]
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]

FILE = """\
harnessName: {name}
model:
  liteLlmModelConfig: {{modelId: demo/scripted}}
systemPrompt:
  - text: Be kind.
tools:
  - type: inline_function
    config:
      inlineFunction:
        description: Ask
        inputSchema: {{type: object}}
environment:
  agentCoreRuntimeEnvironment:
    lifecycleConfiguration: {{maxLifetime: 3600}}
environmentVariables: {{STAGE: test}}
memory: {{disabled: {{}}}}
maxIterations: 5
tags: {{team: support}}
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    scratch = tmp_path_factory.mktemp("api")
    with (
        temporal_server(scratch / "temporal.log") as temporal,
        provisioned_api(scratch, temporal) as running,
    ):
        yield running
        running.stop()


@pytest.fixture(scope="module")
def control(api: ApiProcess) -> Iterator[Any]:
    made = settling(client("bedrock-agentcore-control", api.url))
    yield made
    made.close()


@pytest.fixture
def run(api: ApiProcess, cli_env: dict[str, str], tmp_path: Path) -> Run:
    env = {**cli_env, "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE": api.url}

    def invoke(*words: str, code: int = 0) -> Done:
        done = run_everloop(*words, env=env, cwd=tmp_path)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return invoke


def create(run: Run, name: str, *words: str) -> str:
    done = run("create", "--name", name, "--model", "demo/scripted", *words, "--json")
    return json.loads(done.stdout)["harness"]["harnessId"]


def versions(control: Any, harness_id: str) -> list[str]:
    listed = control.list_harness_versions(harnessId=harness_id)["harnessVersions"]
    return [one["harnessVersion"] for one in listed]


def test_update_changes_what_is_named_and_keeps_the_rest(run: Run, control: Any) -> None:
    harness_id = create(run, "updated", "--max-iterations", "3")
    said = run("update", "updated", "--system-prompt", "Be brief.").stdout
    assert "updated to version 2" in said
    harness = control.get_harness(harnessId=harness_id)["harness"]
    assert harness["systemPrompt"] == [{"text": "Be brief."}]
    assert harness["maxIterations"] == 3
    assert "nothing to change" in run("update", "updated", code=2).stderr


def test_versions_shows_which_endpoints_point_where(run: Run) -> None:
    create(run, "listed")
    run("endpoint", "create", "listed", "prod")
    run("update", "listed", "--max-iterations", "4")
    rows = [line.split() for line in run("versions", "listed").stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows[1:]] == [("2", "DEFAULT"), ("1", "prod")]
    shown = json.loads(run("versions", "listed", "--json").stdout)["harnessVersions"]
    assert [one["harnessVersion"] for one in shown] == ["2", "1"]


def test_endpoints_are_created_promoted_rolled_back_and_deleted(run: Run) -> None:
    create(run, "pointed")
    run("update", "pointed", "--max-iterations", "4")

    def live() -> str:
        shown = json.loads(run("endpoint", "get", "pointed", "prod", "--json").stdout)
        return shown["endpoint"]["liveVersion"]

    said = run("endpoint", "create", "pointed", "prod", "--version", "1", "--description", "d")
    assert "prod" in said.stdout and live() == "1"
    run("endpoint", "update", "pointed", "prod", "--version", "2")
    assert live() == "2"
    assert "from version 2 to 1" in run("rollback", "pointed", "--name", "prod").stdout
    assert live() == "1"
    assert "no older one" in run("rollback", "pointed", "--name", "prod", code=2).stderr
    listed = run("endpoint", "list", "pointed").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["DEFAULT", "prod"]
    assert "ConflictException" in run("delete", "pointed", code=1).stderr
    assert "DELETING" in run("endpoint", "delete", "pointed", "prod").stdout
    assert "no endpoint named prod" in run("endpoint", "get", "pointed", "prod", code=1).stderr
    assert "deleted pointed" in run("delete", "pointed").stdout
    assert "READY" in run("create", "--name", "pointed", "--model", "demo/scripted").stdout
    said = run("create", "--name", "hasty", "--model", "demo/scripted", "--no-wait").stdout
    assert "CREATING" in said


def test_rollback_without_an_endpoint_makes_a_version_like_the_old_one(
    run: Run, control: Any
) -> None:
    first = control.create_harness(
        harnessName="restored",
        executionRoleArn="arn:aws:iam::000000000000:role/one",
        systemPrompt=[{"text": "One"}],
        maxIterations=3,
        environment={
            "agentCoreRuntimeEnvironment": {
                "lifecycleConfiguration": {"idleRuntimeSessionTimeout": 60, "maxLifetime": 600}
            }
        },
    )["harness"]
    control.update_harness(
        harnessId=first["harnessId"],
        systemPrompt=[{"text": "Two"}],
        environmentVariables={"A": "1"},
        truncation={"strategy": "none"},
        environment={
            "agentCoreRuntimeEnvironment": {
                "lifecycleConfiguration": {"maxLifetime": 28800},
                "filesystemConfigurations": [{"sessionStorage": {"mountPath": "/mnt/work"}}],
            }
        },
    )
    assert "version 3 of restored is like 1" in run("rollback", "restored").stdout
    third = control.get_harness(harnessId=first["harnessId"])["harness"]
    moved = {"status": "READY", "harnessVersion": "3", "updatedAt": third["updatedAt"]}
    assert third == {**first, **moved}


def test_rollback_says_when_there_is_no_way_back(run: Run) -> None:
    create(run, "stuck")
    run("update", "stuck", "--max-tokens", "5")
    assert "cannot take it away" in run("rollback", "stuck", code=2).stderr


def test_apply_creates_then_changes_nothing_then_changes_what_differs(
    run: Run, control: Any, tmp_path: Path
) -> None:
    path = tmp_path / "harness.yaml"
    path.write_text(FILE.format(name="declared"))
    assert "+maxIterations: 5" in run("diff", code=1).stdout
    created = json.loads(run("apply", "--yes", "--json").stdout)["harness"]
    harness_id = created["harnessId"]
    assert run("diff").stdout == ""
    assert "unchanged: declared version 1" in run("apply").stdout
    assert versions(control, harness_id) == ["1"]

    path.write_text(
        FILE.format(name="declared")
        .replace("Be kind.", "Be brief.")
        .replace("maxIterations: 5\n", "")
        .replace("STAGE: test", "STAGE: prod")
        .replace("team: support", "owner: me")
    )
    difference = run("diff", "-f", str(path), code=1).stdout.splitlines()
    changed = [line for line in difference if line[:1] in "+-" and line[:3] not in ("---", "+++")]
    assert [line.strip("+- ,") for line in changed] == [
        '"STAGE": "test"',
        '"STAGE": "prod"',
        "maxIterations: 5",
        "maxIterations: 75",
        '"text": "Be kind."',
        '"text": "Be brief."',
        '"team": "support"',
        '"owner": "me"',
    ]
    assert "add --yes" in run("apply", code=2).stderr
    assert versions(control, harness_id) == ["1"]
    assert "updated declared version 2" in run("apply", "--yes").stdout
    harness = control.get_harness(harnessId=harness_id)["harness"]
    assert harness["systemPrompt"] == [{"text": "Be brief."}]
    assert harness["environmentVariables"] == {"STAGE": "prod"}
    assert harness["maxIterations"] == 75, "what the file does not name has its default"
    tags = control.list_tags_for_resource(resourceArn=harness["arn"])["tags"]
    assert tags == {"owner": "me"}
    assert run("diff").stdout == ""


def test_deploy_applies_the_directorys_file(run: Run, control: Any, tmp_path: Path) -> None:
    (tmp_path / "harness.yaml").write_text(FILE.format(name="deployed"))
    assert "created deployed version 1 (READY)" in run("deploy").stdout
    assert "unchanged" in run("deploy").stdout


def test_changes_of_tags_alone_make_no_version(run: Run, control: Any, tmp_path: Path) -> None:
    path = tmp_path / "harness.yaml"
    path.write_text(FILE.format(name="retagged"))
    run("deploy")
    path.write_text(FILE.format(name="retagged").replace("support", "sales"))
    assert "retagged version 1" in run("deploy").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "must hold a mapping"),
        ("a: [", "is not YAML"),
        ("model: {}", "must name the harness"),
        ("harnessName: x\nclientToken: y", "clientToken has no place"),
        ("harnessName: wrong\nmodle: {}", "modle"),
    ],
)
def test_a_file_that_is_no_declaration_is_refused(
    run: Run, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "harness.yaml").write_text(text)
    assert said in run("deploy", code=2).stderr


def test_a_missing_file_is_named(run: Run) -> None:
    assert "harness.yaml" in run("deploy", code=2).stderr


def test_apply_asks_at_a_terminal(
    api: ApiProcess, cli_env: dict[str, str], control: Any, tmp_path: Path
) -> None:
    (tmp_path / "harness.yaml").write_text(FILE.format(name="asked"))

    def answer(typed: bytes) -> int:
        parent, child = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "everloop.cli", "apply", "--endpoint-url", api.url],
            env=cli_env,
            cwd=tmp_path,
            stdin=child,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child)
        os.write(parent, typed)
        try:
            return process.wait(timeout=30)
        finally:
            os.close(parent)

    def made() -> bool:
        listed = control.get_paginator("list_harnesses").paginate()
        return any(one["harnessName"] == "asked" for page in listed for one in page["harnesses"])

    assert answer(b"n\n") == 1
    assert not made()
    assert answer(b"y\n") == 0
    assert made()


def test_the_published_schema_is_the_commands_and_tells_files_apart(run: Run) -> None:
    published = json.loads((ROOT / "docs" / "harness.schema.json").read_text())
    assert json.loads(run("schema").stdout) == published == harness_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    check: Any = jsonschema.Draft202012Validator(published)
    declared: dict[str, Any] = yaml.safe_load(FILE.format(name="helper"))
    declared["endpoints"] = {"prod": 3, "beta": "latest", "old": {"version": "1"}}
    assert not list(check.iter_errors(declared))
    mistakes: tuple[dict[str, Any], ...] = (
        {"modle": {}},
        {"maxIterations": "5"},
        {"harnessName": "9"},
        {"model": {}},
        {"truncation": {"strategy": "some"}},
        {"clientToken": "x"},
        {"endpoints": {"DEFAULT": 1}},
        {"endpoints": {"prod": {"verison": 1}}},
        {"endpoints": {"prod": "newest"}},
    )
    for wrong in mistakes:
        assert list(check.iter_errors({**declared, **wrong})), wrong
