"""A stored harness as the control plane shows it: `Harness` and `HarnessSummary`."""

from typing import Any

from contracts.harness import Environment, HarnessConfig
from contracts.ids import HarnessArn
from contracts.records import EndpointRecord, HarnessRecord
from contracts.settings import Settings


def harness_arn(record: HarnessRecord, settings: Settings) -> str:
    """The ARN of a harness."""
    return str(HarnessArn(settings.region, record.account, record.harness_id))


def show_summary(record: HarnessRecord, settings: Settings) -> dict[str, Any]:
    """`HarnessSummary`."""
    return {
        "harnessId": record.harness_id,
        "harnessName": record.name,
        "arn": harness_arn(record, settings),
        "status": record.status,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "harnessVersion": record.version,
    }


def show_version(record: HarnessRecord, settings: Settings) -> dict[str, Any]:
    """`HarnessVersionSummary`: its times are those of the version, which never changes."""
    return {**show_summary(record, settings), "createdAt": record.updated_at}


def show_endpoint(endpoint: EndpointRecord, settings: Settings) -> dict[str, Any]:
    """`HarnessEndpoint`: it serves the live version, and the target version once it is READY."""
    arn = HarnessArn(settings.region, endpoint.account, endpoint.harness_id)
    return {
        "harnessId": endpoint.harness_id,
        "harnessName": endpoint.harness_name,
        "endpointName": endpoint.name,
        "arn": f"{arn}/harness-endpoint/{endpoint.name}",
        "status": endpoint.status,
        "createdAt": endpoint.created_at,
        "updatedAt": endpoint.updated_at,
        "liveVersion": endpoint.live_version,
        "targetVersion": endpoint.target_version,
        "description": endpoint.description,
        "failureReason": endpoint.failure_reason,
    }


def show_harness(record: HarnessRecord, settings: Settings) -> dict[str, Any]:
    """`Harness`: the summary and everything that its version fixes."""
    config = record.config
    return {
        **show_summary(record, settings),
        **_own_names(config),
        "skills": [],
        "memory": {"disabled": {}},
        "environment": {"agentCoreRuntimeEnvironment": _runtime(record, settings)},
        "environmentArtifact": _artifact(config.environment),
        "environmentVariables": config.environment.variables or None,
        "failureReason": record.failure_reason,
    }


def _own_names(config: HarnessConfig) -> dict[str, Any]:
    """The members that `HarnessConfig` names and shapes as AWS does."""
    return config.model_dump(
        mode="json", by_alias=True, exclude={"environment", "extensions"}, exclude_none=True
    )


def _runtime(record: HarnessRecord, settings: Settings) -> dict[str, Any]:
    environment = record.config.environment
    runtime_id = f"harness_{record.harness_id}"
    prefix = f"arn:aws:bedrock-agentcore:{settings.region}:{record.account}"
    return {
        "agentRuntimeArn": f"{prefix}:runtime/{runtime_id}",
        "agentRuntimeName": f"harness_{record.name}",
        "agentRuntimeId": runtime_id,
        "lifecycleConfiguration": environment.lifecycle.model_dump(by_alias=True),
        "networkConfiguration": environment.network.model_dump(by_alias=True, exclude_none=True),
        "filesystemConfigurations": _filesystems(environment),
    }


def _filesystems(environment: Environment) -> list[dict[str, Any]] | None:
    return [
        {one.kind: one.model_dump(by_alias=True, exclude={"kind"}, exclude_none=True)}
        for one in environment.filesystems
    ] or None


def _artifact(environment: Environment) -> dict[str, Any] | None:
    if environment.container_uri is None:
        return None
    return {"containerConfiguration": {"containerUri": environment.container_uri}}
