"""A harness's extensions: read those of a version, make a version with others."""

from collections.abc import Mapping
from typing import Any

from api.body import load
from api.context import Context
from api.digest import request_digest
from api.own.request import OwnRequest, read_value
from contracts.errors import AwsError, ServiceError
from contracts.extensions import HarnessExtensions
from contracts.harness import HarnessConfig
from contracts.records import HarnessRecord

#: Carries a harness's extensions as JSON in CreateHarness and UpdateHarness, so that no version
#: ever stands without them.
EXTENSIONS_HEADER = "x-everloop-extensions"
CLIENT_TOKEN_HEADER = "x-everloop-client-token"


async def get_extensions(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """The newest version's, or those of the version that `harnessVersion` names.

    Raises:
        ServiceError: ResourceNotFoundException.
    """
    record = await context.store.harnesses.get(
        context.settings.account, request.labels["harnessId"], request.query.get("harnessVersion")
    )
    return _show(record)


async def put_extensions(context: Context, request: OwnRequest) -> Mapping[str, Any]:
    """Make a version that has these extensions, whole, and else is as the newest one.

    With `dryRun=true` nothing is made: the answer shows how they would be stored.

    Raises:
        ServiceError: ResourceNotFoundException, ValidationException.
    """
    wanted = request.read(HarnessExtensions)
    if request.query.get("dryRun") == "true":
        newest = await context.store.harnesses.get(
            context.settings.account, request.labels["harnessId"]
        )
        extended(newest.config, wanted)
        return {**_show(newest), "extensions": _document(wanted)}
    record = await context.store.harnesses.update(
        context.settings.account,
        request.labels["harnessId"],
        lambda config: extended(config, wanted),
        client_token=request.headers.get(CLIENT_TOKEN_HEADER),
        params_digest=request_digest(wanted.model_dump(mode="json")),
    )
    await context.provisioner.start(record.operation)
    return _show(record)


def read_extensions(headers: Mapping[str, str]) -> HarnessExtensions | None:
    """What the header of a CreateHarness or UpdateHarness says; None when it is absent.

    Raises:
        ServiceError: ValidationException naming every member that is wrong.
    """
    given = headers.get(EXTENSIONS_HEADER)
    if given is None:
        return None
    try:
        value = load(given.encode())
    except ServiceError as error:
        raise ServiceError(
            AwsError.VALIDATION, f"The {EXTENSIONS_HEADER} header does not hold JSON."
        ) from error
    return read_value(HarnessExtensions, value, path=EXTENSIONS_HEADER)


def extended(config: HarnessConfig, extensions: HarnessExtensions | None) -> HarnessConfig:
    """A configuration with other extensions; its own stay when there are none.

    Raises:
        ServiceError: ValidationException: an agent has the name of another tool.
    """
    if extensions is not None:
        config = config.model_copy(update={"extensions": extensions})
    config.check_agents()
    return config


def _show(record: HarnessRecord) -> dict[str, Any]:
    return {
        "harnessId": record.harness_id,
        "harnessVersion": record.version,
        "status": record.status,
        "extensions": _document(record.config.extensions),
    }


def _document(extensions: HarnessExtensions) -> dict[str, Any]:
    return extensions.model_dump(mode="json", exclude_none=True)
