import pytest

from contracts.errors import AwsError, Reason, ServiceError
from store import Store
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG


async def create(store: Store, name: str, token: str | None = None, digest: str = "d") -> str:
    record = await store.harnesses.create(
        ACCOUNT, name, CONFIG, client_token=token, params_digest=digest
    )
    await settle(store, record.operation)
    return record.harness_id


async def delete(store: Store, harness_id: str, token: str | None = None) -> str:
    record = await store.harnesses.delete(
        ACCOUNT, harness_id, client_token=token, params_digest=harness_id
    )
    await settle(store, record.operation)
    return record.status


async def names(store: Store, limit: int = 100) -> list[str]:
    page, _ = await store.harnesses.list(ACCOUNT, limit=limit, after=None)
    return [record.name for record in page]


async def test_a_created_harness_is_there_as_version_1(store: Store) -> None:
    created = await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token=None, params_digest="d"
    )
    assert (created.status, created.version, created.config) == ("CREATING", "1", CONFIG)
    assert created.harness_id.startswith("helper-")
    assert len(created.harness_id) == len("helper-") + 10
    assert created.created_at.tzinfo is not None
    assert await store.harnesses.get(ACCOUNT, created.harness_id) == created
    assert await store.harnesses.get(ACCOUNT, created.harness_id, "1") == created


@pytest.mark.parametrize("version", ["2", "0", "latest", "²", "99999999"])
async def test_a_version_that_is_not_there_is_named(store: Store, version: str) -> None:
    harness_id = await create(store, "helper")
    with pytest.raises(ServiceError, match=f"does not have a version {version}") as caught:
        await store.harnesses.get(ACCOUNT, harness_id, version)
    assert caught.value.detail.error is AwsError.NOT_FOUND


async def test_another_account_does_not_see_a_harness(store: Store) -> None:
    harness_id = await create(store, "helper")
    with pytest.raises(ServiceError, match=harness_id):
        await store.harnesses.get("111111111111", harness_id)


async def test_a_living_harness_keeps_its_name_and_a_deleted_one_frees_it(store: Store) -> None:
    first = await create(store, "helper")
    with pytest.raises(ServiceError, match="helper already exists") as caught:
        await create(store, "helper")
    assert caught.value.detail.error is AwsError.CONFLICT
    assert await delete(store, first) == "DELETING"
    assert await create(store, "helper") != first


async def test_the_same_token_answers_as_the_first_time(store: Store) -> None:
    first = await create(store, "helper", "token")
    await delete(store, first)
    assert await create(store, "helper", "token") == first
    again = await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token="token", params_digest="d"
    )
    assert again.status == "CREATING"


async def test_the_same_token_for_something_else_is_refused(store: Store) -> None:
    await create(store, "helper", "token")
    with pytest.raises(ServiceError) as caught:
        await create(store, "other", "token", digest="e")
    assert caught.value.detail.reason is Reason.IDEMPOTENT_PARAMETER_MISMATCH
    assert caught.value.detail.fields[0].name == "clientToken"
    assert await names(store) == ["helper"]


async def test_a_refused_create_does_not_use_up_its_token(store: Store) -> None:
    taken = await create(store, "helper")
    with pytest.raises(ServiceError):
        await create(store, "helper", "token")
    await delete(store, taken)
    assert (await create(store, "helper", "token")).startswith("helper-")


@pytest.mark.wire("harness.delete")
async def test_a_deleted_harness_is_not_found_and_a_repeated_delete_answers(store: Store) -> None:
    harness_id = await create(store, "helper")
    assert await delete(store, harness_id, "token") == "DELETING"
    assert await delete(store, harness_id, "token") == "DELETING"
    with pytest.raises(ServiceError) as caught:
        await store.harnesses.get(ACCOUNT, harness_id)
    assert caught.value.detail.error is AwsError.NOT_FOUND
    with pytest.raises(ServiceError):
        await delete(store, harness_id, "another")
    assert await names(store) == []


async def test_pages_neither_repeat_nor_hide_under_inserts_and_deletes(store: Store) -> None:
    created = [await create(store, f"h{number}") for number in range(7)]
    seen: list[str] = []
    after = None
    while True:
        page, after = await store.harnesses.list(ACCOUNT, limit=2, after=after)
        seen += [record.harness_id for record in page]
        if after is None:
            break
        if len(seen) == 2:
            await delete(store, created[0])
            created.append(await create(store, "late"))
    assert seen == created


@pytest.mark.parametrize("token", ["x", "", "bm90IGpzb24=", "WyJhIiwgImIiXQ==", "ä"])
async def test_a_page_token_that_was_never_given_is_refused(store: Store, token: str) -> None:
    with pytest.raises(ServiceError, match="nextToken"):
        await store.harnesses.list(ACCOUNT, limit=10, after=token)


@pytest.mark.parametrize("limit", [0, 101])
async def test_a_page_has_bounds(store: Store, limit: int) -> None:
    with pytest.raises(ServiceError, match="maxResults"):
        await store.harnesses.list(ACCOUNT, limit=limit, after=None)
