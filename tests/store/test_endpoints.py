import asyncio

from contracts.errors import AwsError, ServiceError
from contracts.records import EndpointRecord
from store import Store
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG


async def harness(store: Store) -> str:
    record = await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token=None, params_digest="d"
    )
    await settle(store, record.operation)
    return record.harness_id


async def create(
    store: Store, harness_id: str, name: str, token: str | None = None
) -> EndpointRecord:
    return await store.endpoints.create(
        ACCOUNT,
        harness_id,
        name,
        version=None,
        description=None,
        client_token=token,
        params_digest="d",
    )


async def test_endpoints_made_at_once_stay_within_their_quota(store: Store) -> None:
    harness_id = await harness(store)
    made = await asyncio.gather(
        *(create(store, harness_id, f"e{number}") for number in range(12)), return_exceptions=True
    )
    refused = [one.detail.error for one in made if isinstance(one, ServiceError)]
    assert refused == [AwsError.QUOTA, AwsError.QUOTA]


async def test_a_harness_is_deleted_or_gets_an_endpoint_never_both(store: Store) -> None:
    harness_id = await harness(store)
    made, gone = await asyncio.gather(
        create(store, harness_id, "prod"),
        store.harnesses.delete(ACCOUNT, harness_id, client_token=None, params_digest="d"),
        return_exceptions=True,
    )
    assert isinstance(made, ServiceError) != isinstance(gone, ServiceError)


async def test_one_token_sent_twice_at_once_makes_one_endpoint(store: Store) -> None:
    harness_id = await harness(store)
    first, second = await asyncio.gather(
        create(store, harness_id, "prod", "token"), create(store, harness_id, "prod", "token")
    )
    assert first == second


async def test_another_account_does_not_see_an_endpoint(store: Store) -> None:
    harness_id = await harness(store)
    await create(store, harness_id, "prod")
    for account, found in ((ACCOUNT, True), ("111111111111", False)):
        try:
            await store.endpoints.get(account, harness_id, "prod")
        except ServiceError as error:
            assert not found and error.detail.error is AwsError.NOT_FOUND
        else:
            assert found
