"""A harness's environment on the wire, with an operator's map of what only AWS can resolve."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.environment_config import Installation
from api.harness_config import read_config, read_update
from contracts.errors import ServiceError
from contracts.operator_map import OperatorMap
from tests.api.conftest import ROLE, ApiProcess, client, start_api
from tests.api.raw import call

EFS = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
S3 = (
    "arn:aws:s3files:us-east-1:000000000000:file-system/fs-0123456789abcdef0"
    "/access-point/fsap-0123456789abcdef0"
)
IMAGE = "public.ecr.aws/acme/agent:1"
SUBNET = "subnet-0123456789abcdef0"
RUNTIME = "environment.agentCoreRuntimeEnvironment"
VPC = {
    "networkMode": "VPC",
    "networkModeConfig": {"securityGroups": ["sg-0123456789abcdef0"], "subnets": [SUBNET]},
}
MAP = {
    "accessPoints": {EFS: {"directory": "/srv/efs"}, S3: {"directory": "/srv/s3"}},
    "images": {IMAGE: "/srv/image"},
    "subnets": {SUBNET: ["10.20.0.0/16"]},
}

IMAGED = {"environmentArtifact": {"containerConfiguration": {"containerUri": IMAGE}}}
HERE = Installation(OperatorMap.read(json.dumps(MAP), "map"))


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    directory = tmp_path_factory.mktemp("mapped")
    (directory / "map.json").write_text(json.dumps(MAP))
    running = start_api(directory, EVERLOOP_ENVIRONMENTS_FILE=str(directory / "map.json"))
    yield running
    assert running.stop()[0] == 0


@pytest.fixture
def control(mapped: ApiProcess) -> Iterator[Any]:
    made = client("bedrock-agentcore-control", mapped.url)
    yield made
    made.close()


def efs(path: str, arn: str = EFS) -> dict[str, Any]:
    return {"efsAccessPoint": {"accessPointArn": arn, "mountPath": path}}


def s3(path: str, arn: str = S3) -> dict[str, Any]:
    return {"s3FilesAccessPoint": {"accessPointArn": arn, "mountPath": path}}


def storage(path: str) -> dict[str, Any]:
    return {"sessionStorage": {"mountPath": path}}


@pytest.mark.wire("harness.vpc", "harness.mounts", "harness.image")
def test_everything_that_is_mapped_comes_back_as_it_was_given(control: Any) -> None:
    runtime = {
        "lifecycleConfiguration": {"idleRuntimeSessionTimeout": 60, "maxLifetime": 28800},
        "networkConfiguration": VPC,
        "filesystemConfigurations": [
            efs("/mnt/a"),
            storage("/mnt/work"),
            s3("/mnt/b"),
            efs("/mnt/c"),
        ],
    }
    artifact = {"containerConfiguration": {"containerUri": IMAGE}}
    made = control.create_harness(
        harnessName="whole",
        executionRoleArn=ROLE,
        environment={"agentCoreRuntimeEnvironment": runtime},
        environmentArtifact=artifact,
        environmentVariables={"K" * 100: "v" * 5000},
    )["harness"]
    shown = control.get_harness(harnessId=made["harnessId"])["harness"]
    assert shown["environment"]["agentCoreRuntimeEnvironment"].items() >= runtime.items()
    for name in ("environment", "environmentArtifact", "environmentVariables"):
        assert shown[name] == made[name]
    assert shown["environmentArtifact"] == artifact


@pytest.mark.wire("harness.image")
def test_an_update_keeps_the_image_and_an_empty_wrapper_clears_it() -> None:
    first = read_config({"executionRoleArn": ROLE, **IMAGED}, HERE)
    kept = read_update(first, {"maxIterations": 3}, HERE)
    assert kept.environment == first.environment and kept.environment.container_uri == IMAGE
    cleared = read_update(first, {"environmentArtifact": {}}, HERE)
    assert cleared.environment.container_uri is None


@pytest.mark.parametrize(
    ("engine", "files", "lacking"),
    [
        ("docker", {"claim": "reports"}, "a directory"),
        ("kubernetes", {"directory": "/srv/efs"}, "a claim or an nfs export"),
        ("kubernetes", {"claim": "reports"}, None),
        ("kubernetes", {"nfs": {"server": "files.test", "path": "/reports"}}, None),
        ("docker", {"directory": "/srv/efs", "claim": "reports"}, None),
    ],
)
def test_an_access_point_must_be_mapped_to_what_the_engine_takes(
    engine: str, files: dict[str, Any], lacking: str | None
) -> None:
    operator = OperatorMap.read(json.dumps({"accessPoints": {EFS: files}}), "map")
    runtime = {"filesystemConfigurations": [efs("/mnt/a")]}
    params = {
        "executionRoleArn": ROLE,
        "environment": {"agentCoreRuntimeEnvironment": runtime},
    }
    here = Installation(operator, engine)
    if lacking is None:
        assert read_config(params, here).environment.filesystems[0].access_point_arn == EFS
        return
    with pytest.raises(ServiceError) as refused:
        read_config(params, here)
    (fault,) = refused.value.detail.fields
    assert fault.name == f"{RUNTIME}.filesystemConfigurations[0].efsAccessPoint.accessPointArn"
    assert f"is not mapped to {lacking} in" in fault.message


def test_the_operators_map_is_read_again_when_it_changed(mapped: ApiProcess, control: Any) -> None:
    path = mapped.data_dir / "map.json"
    before = path.read_text()
    other = "public.ecr.aws/acme/other"
    path.write_text(json.dumps({**MAP, "images": {other: "/srv/other"}}))
    made = control.create_harness(
        harnessName="other",
        executionRoleArn=ROLE,
        environmentArtifact={"containerConfiguration": {"containerUri": other}},
    )["harness"]
    path.write_text(before)
    assert made["environmentArtifact"]["containerConfiguration"]["containerUri"] == other


BAD: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"filesystemConfigurations": [efs("/mnt/a", EFS.replace("9abcdef0", "9abcdef1"))]},
        ["filesystemConfigurations[0].efsAccessPoint.accessPointArn"],
    ),
    (
        {"filesystemConfigurations": [s3(f"/mnt/{name}") for name in "abc"]},
        ["filesystemConfigurations[2].s3FilesAccessPoint"],
    ),
    (
        {"filesystemConfigurations": [efs(f"/mnt/{name}") for name in "abc"]},
        ["filesystemConfigurations[2].efsAccessPoint"],
    ),
    (
        {"filesystemConfigurations": [storage("/mnt/a"), efs("/mnt/a/")]},
        ["filesystemConfigurations[1].efsAccessPoint.mountPath"],
    ),
    (
        {"filesystemConfigurations": [efs("/mnt/session/"), efs("/mnt/a")]},
        ["filesystemConfigurations[0].efsAccessPoint.mountPath"],
    ),
    (
        {"filesystemConfigurations": [storage(f"/mnt/{'n' * 196}")]},
        ["filesystemConfigurations[0].sessionStorage.mountPath"],
    ),
    (
        {"filesystemConfigurations": [efs("/srv/a")]},
        ["filesystemConfigurations[0].efsAccessPoint.mountPath"],
    ),
    (
        {
            "filesystemConfigurations": [
                {"capacityProviderVolume": {"volumeName": "v", "mountPath": "/mnt/v"}}
            ]
        },
        ["filesystemConfigurations[0].capacityProviderVolume"],
    ),
    (
        {
            "networkConfiguration": {
                **VPC,
                "networkModeConfig": {
                    "securityGroups": ["sg-0123456789abcdef0"],
                    "subnets": [SUBNET, "subnet-00000000"],
                },
            }
        },
        ["networkConfiguration.networkModeConfig.subnets[1]"],
    ),
    (
        {"networkConfiguration": {**VPC, "networkMode": "PUBLIC"}},
        ["networkConfiguration.networkModeConfig"],
    ),
    (
        {"lifecycleConfiguration": {"idleRuntimeSessionTimeout": 59}},
        ["lifecycleConfiguration.idleRuntimeSessionTimeout"],
    ),
]


@pytest.mark.parametrize(("runtime", "fields"), BAD, ids=lambda value: str(value)[:60])
def test_names_what_is_wrong_with_an_environment(
    mapped: ApiProcess, runtime: dict[str, Any], fields: list[str]
) -> None:
    body = {
        "harnessName": "good",
        "executionRoleArn": ROLE,
        "environment": {"agentCoreRuntimeEnvironment": runtime},
    }
    answer = call(mapped.port, "POST", "/harnesses", body)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.fields == [f"{RUNTIME}.{name}" for name in fields]


def test_variables_have_the_bounds_of_aws(mapped: ApiProcess) -> None:
    for variables in ({"K" * 101: "v"}, {"K": "v" * 5001}, {f"K{i}": "" for i in range(51)}):
        body = {
            "harnessName": "good",
            "executionRoleArn": ROLE,
            "environmentVariables": variables,
        }
        answer = call(mapped.port, "POST", "/harnesses", body)
        assert (answer.status, answer.error) == (400, "ValidationException")
        assert all(name.startswith("environmentVariables") for name in answer.fields)


def test_an_unreadable_map_keeps_the_api_from_starting(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"images": {"a": "relative"}}')
    with pytest.raises(AssertionError, match=r"map\.json: images: .*absolute path"):
        start_api(tmp_path, EVERLOOP_ENVIRONMENTS_FILE=str(tmp_path / "map.json"))


def test_an_engine_of_containers_takes_any_image(tmp_path: Path) -> None:
    running = start_api(tmp_path, EVERLOOP_ENGINE="docker")
    body = {
        "harnessName": "boxed",
        "executionRoleArn": ROLE,
        "environmentArtifact": {"containerConfiguration": {"containerUri": "public.ecr.aws/a/b"}},
    }
    answer = call(running.port, "POST", "/harnesses", body)
    running.stop()
    assert answer.status == 201 and "environmentArtifact" in answer.json["harness"]
