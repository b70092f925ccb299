"""A harness's file is the whole truth: what it does not name has its default."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from everloop.cli.change import comparable
from everloop.cli.declared_endpoints import read_endpoints
from everloop.cli.defaults import whole
from everloop.cli.errors import UsageError
from tests.api.conftest import ROLE
from tests.client.test_control_commands import Run, api, control, run

__all__ = ["api", "control", "run"]

EVERYTHING: dict[str, Any] = {
    "executionRoleArn": ROLE,
    "model": {"liteLlmModelConfig": {"modelId": "demo/scripted", "temperature": 0.5}},
    "systemPrompt": [{"text": "Be kind."}],
    "tools": [
        {
            "type": "inline_function",
            "name": "ask",
            "config": {
                "inlineFunction": {"description": "d", "inputSchema": {"json": {"type": "object"}}}
            },
        }
    ],
    "allowedTools": ["@ask"],
    "truncation": {
        "strategy": "summarization",
        "config": {"summarization": {"summaryRatio": 0.5}},
    },
    "environment": {
        "agentCoreRuntimeEnvironment": {
            "lifecycleConfiguration": {"idleRuntimeSessionTimeout": 60, "maxLifetime": 600},
            "filesystemConfigurations": [{"sessionStorage": {"mountPath": "/mnt/work/"}}],
        }
    },
    "environmentVariables": {"STAGE": "test"},
    "maxIterations": 5,
    "timeoutSeconds": 60,
    "tags": {"team": "support"},
}
#: What no file can say of a harness.
OF_EACH = ("harnessId", "harnessName", "arn", "harnessVersion", "createdAt", "updatedAt", "status")


def write(tmp_path: Path, name: str, **members: Any) -> None:
    text = yaml.safe_dump({"harnessName": name, **members})
    (tmp_path / "harness.yaml").write_text(text)


def of_kind(harness: dict[str, Any]) -> dict[str, Any]:
    """A harness without what tells it from another one."""
    shown = {name: value for name, value in harness.items() if name not in OF_EACH}
    runtime = dict(shown["environment"]["agentCoreRuntimeEnvironment"])
    for name in ("agentRuntimeArn", "agentRuntimeName", "agentRuntimeId"):
        del runtime[name]
    return {**shown, "environment": runtime}


def test_the_defaults_of_a_file_are_those_of_the_api(control: Any) -> None:
    made = control.create_harness(harnessName="plain", executionRoleArn=ROLE)["harness"]
    for member, value in whole({"executionRoleArn": ROLE}).items():
        assert comparable(member, value, made) == value, member


def test_members_taken_out_of_the_file_get_their_defaults(
    run: Run, control: Any, tmp_path: Path
) -> None:
    write(tmp_path, "emptied", **EVERYTHING)
    harness_id = json.loads(run("deploy", "--json").stdout)["harness"]["harnessId"]
    assert "unchanged" in run("deploy").stdout, "what was applied is what the file says"

    write(tmp_path, "emptied")
    difference = run("deploy").stdout
    assert "-maxIterations: 5" in difference and "+maxIterations: 75" in difference
    assert '-  "team": "support"' in difference
    assert "unchanged" in run("deploy").stdout
    emptied = control.get_harness(harnessId=harness_id)["harness"]
    role = emptied["executionRoleArn"]
    made = control.create_harness(harnessName="never_full", executionRoleArn=role)["harness"]
    assert of_kind(emptied) == of_kind(made)
    assert control.list_tags_for_resource(resourceArn=emptied["arn"])["tags"] == {}


def test_parts_of_a_member_that_the_file_names_get_their_defaults_too(
    run: Run, control: Any, tmp_path: Path
) -> None:
    write(tmp_path, "parts", **EVERYTHING)
    harness_id = json.loads(run("deploy", "--json").stdout)["harness"]["harnessId"]
    write(
        tmp_path,
        "parts",
        truncation={"strategy": "summarization", "config": {"summarization": {}}},
        environment={
            "agentCoreRuntimeEnvironment": {"lifecycleConfiguration": {"maxLifetime": 9000}}
        },
    )
    run("deploy")
    harness = control.get_harness(harnessId=harness_id)["harness"]
    assert harness["truncation"]["config"]["summarization"]["summaryRatio"] == 0.3
    runtime = harness["environment"]["agentCoreRuntimeEnvironment"]
    assert runtime["lifecycleConfiguration"] == {
        "idleRuntimeSessionTimeout": 900,
        "maxLifetime": 9000,
    }
    assert "filesystemConfigurations" not in runtime


def test_approval_rules_of_a_file_are_in_force_and_belong_to_a_version(
    run: Run, tmp_path: Path
) -> None:
    rule: dict[str, Any] = {
        "tools": ["@builtin/sh*"],
        "when": [{"path": "/command", "operator": "matches", "value": "^rm"}],
        "action": "ask",
        "name": "deletes",
    }
    write(tmp_path, "ruled", extensions={"approvals": {"rules": [rule]}})
    run("deploy")
    write(tmp_path, "ruled", extensions={"approvals": {"rules": []}})
    run("deploy")
    call = ("approvals", "test", "ruled", "shell", "--arguments", '{"command": "rm -r x"}')
    assert run(*call, "--version", "1").stdout.startswith("ask @builtin/shell: rule 0 (deletes)")
    assert run(*call).stdout.startswith("allow @builtin/shell")
    write(tmp_path, "ruled", extensions={"approvals": {"rules": [{**rule, "action": "may"}]}})
    assert "approvals.rules.0.action" in run("deploy", code=1).stderr


def test_what_the_api_cannot_take_away_is_said(run: Run, control: Any, tmp_path: Path) -> None:
    made = control.create_harness(harnessName="capped", executionRoleArn=ROLE, maxTokens=5)
    control.create_harness_endpoint(
        harnessId=made["harness"]["harnessId"], endpointName="prod", description="d"
    )
    write(tmp_path, "capped", endpoints={"prod": {"description": "d"}})
    assert "cannot take it away" in run("diff", code=2).stderr
    write(tmp_path, "capped", maxTokens=5, endpoints={"prod": "latest"})
    assert "cannot take it away" in run("diff", code=2).stderr


def test_endpoints_are_made_moved_and_pruned(run: Run, control: Any, tmp_path: Path) -> None:
    points: dict[str, Any] = {"prod": {"version": 1, "description": "Customers"}, "beta": "latest"}
    write(tmp_path, "pointed", endpoints=points)
    harness_id = json.loads(run("deploy", "--json").stdout)["harness"]["harnessId"]

    def at() -> dict[str, tuple[str, str | None]]:
        found = control.list_harness_endpoints(harnessId=harness_id)["endpoints"]
        return {
            one["endpointName"]: (one["targetVersion"], one.get("description")) for one in found
        }

    assert at() == {"DEFAULT": ("1", None), "prod": ("1", "Customers"), "beta": ("1", None)}

    write(tmp_path, "pointed", endpoints=points, maxIterations=3)
    difference = run("deploy").stdout
    assert '-    "version": "1"' in difference and '+    "version": "latest"' in difference
    assert "prod" not in difference
    assert at() == {"DEFAULT": ("2", None), "prod": ("1", "Customers"), "beta": ("2", None)}

    prod = {"prod": {"version": "latest", "description": "Everybody"}}
    write(tmp_path, "pointed", endpoints=prod, maxIterations=3)
    done = run("deploy")
    assert "deleted by --prune only: beta" in done.stderr
    assert at() == {"DEFAULT": ("2", None), "prod": ("2", "Everybody"), "beta": ("2", None)}
    assert "version 2" in done.stdout, "endpoints alone make no version"

    assert '-  "beta": {' in run("diff", "--prune", code=1).stdout
    run("deploy", "--prune")
    assert at() == {"DEFAULT": ("2", None), "prod": ("2", "Everybody")}


@pytest.mark.parametrize(
    ("endpoints", "said"),
    [
        (["prod"], "must map names"),
        ({"DEFAULT": 1}, "follows the newest version"),
        ({"prod": "newest"}, "must be a number or latest"),
        ({"prod": {"verison": 1}}, "has no verison"),
    ],
)
def test_endpoints_that_are_none_are_refused(endpoints: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_endpoints(endpoints)
