"""Which version of which harness a caller means."""

import asyncio
import time

from contracts.errors import AwsError, ServiceError
from contracts.ids import HARNESS_ENDPOINT_ARN, HARNESS_ID, HARNESS_NAME, HarnessArn
from contracts.own_arn import check_own
from contracts.records import DEFAULT_ENDPOINT, HarnessRecord
from contracts.settings import Settings
from store.store import Store

#: Seconds that a call waits for a harness that is CREATING: AWS's own quickstart invokes at once.
#: Creating takes tens of milliseconds; an SDK's read time-out is longer than this.
CREATING_S = 10.0
#: Between two looks at it, each one indexed read.
CREATING_POLL_S = 0.02


async def find_version(
    store: Store, settings: Settings, reference: str, qualifier: str | None
) -> HarnessRecord:
    """The version of a harness that a call is to run.

    Args:
        store: has the harnesses.
        settings: say which account and Region this Everloop serves.
        reference: a harness's ARN, the ARN of one of its endpoints, its id or its name.
        qualifier: an endpoint's name; None takes the ARN's, else DEFAULT.

    Raises:
        ServiceError: ValidationException, AccessDeniedException or ResourceNotFoundException.
    """
    account, harness_id, named = await _parts(store, settings, reference)
    if named is not None and qualifier not in (None, named):
        raise ServiceError(
            AwsError.VALIDATION, f"qualifier: {qualifier} is not the endpoint of {reference}"
        )
    return await find_served(store, account, harness_id, qualifier or named or DEFAULT_ENDPOINT)


async def find_served(store: Store, account: str, harness_id: str, endpoint: str) -> HarnessRecord:
    """The version that an endpoint serves; what is being created is waited for, within a bound.

    Raises:
        ServiceError: see `Harnesses.serving`.
    """
    deadline = time.monotonic() + CREATING_S
    while True:
        try:
            return await store.harnesses.serving(account, harness_id, endpoint)
        except ServiceError as error:
            if error.detail.error is not AwsError.THROTTLING or time.monotonic() > deadline:
                raise
        await asyncio.sleep(CREATING_POLL_S)


async def _parts(store: Store, settings: Settings, reference: str) -> tuple[str, str, str | None]:
    """Account, harness id and endpoint of a reference."""
    if HARNESS_NAME.fullmatch(reference):
        harness_id = await store.harnesses.id_of(settings.account, reference)
        return settings.account, harness_id, None
    if HARNESS_ID.fullmatch(reference):
        return settings.account, reference, None
    endpoint = HARNESS_ENDPOINT_ARN.fullmatch(reference)
    try:
        arn = HarnessArn.parse(endpoint["harness"] if endpoint else reference)
    except ValueError as error:
        raise ServiceError(
            AwsError.VALIDATION,
            "harness: must be a harness's name, id or ARN, or an endpoint's ARN",
        ) from error
    check_own(arn, settings)
    return arn.account, arn.harness_id, endpoint["endpoint"] if endpoint else None
