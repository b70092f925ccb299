import asyncio
from dataclasses import replace

import pytest

from contracts.errors import AwsError, ServiceError
from contracts.harness import HarnessConfig
from contracts.records import HarnessRecord
from store import Store
from store.harnesses import MAX_HARNESSES, MAX_VERSIONS
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG


async def create(store: Store, name: str = "helper") -> str:
    record = await store.harnesses.create(
        ACCOUNT, name, CONFIG, client_token=None, params_digest="d"
    )
    await settle(store, record.operation)
    return record.harness_id


async def delete(store: Store, harness_id: str) -> None:
    gone = await store.harnesses.delete(ACCOUNT, harness_id, client_token=None, params_digest="d")
    await settle(store, gone.operation)


def one_more(config: HarnessConfig) -> HarnessConfig:
    return config.model_copy(update={"max_iterations": config.max_iterations + 1})


async def begin_update(store: Store, harness_id: str, token: str | None = None) -> HarnessRecord:
    return await store.harnesses.update(
        ACCOUNT, harness_id, one_more, client_token=token, params_digest="d"
    )


async def update(store: Store, harness_id: str, token: str | None = None) -> HarnessRecord:
    """What the update answered; it has settled."""
    answer = await begin_update(store, harness_id, token)
    await settle(store, answer.operation)
    return replace(answer, operation=None, live_version=None)


async def test_of_updates_at_once_one_is_taken_and_they_build_on_each_other(store: Store) -> None:
    harness_id = await create(store)
    for _ in range(2):
        answers = await asyncio.gather(
            *(begin_update(store, harness_id) for _ in range(4)), return_exceptions=True
        )
        taken = [one for one in answers if isinstance(one, HarnessRecord)]
        refused = [one.detail.error for one in answers if isinstance(one, ServiceError)]
        assert refused == [AwsError.CONFLICT] * 3
        await settle(store, taken[0].operation)
    newest = await store.harnesses.get(ACCOUNT, harness_id)
    assert newest.version == "3"
    assert newest.config.max_iterations == CONFIG.max_iterations + 2
    assert (await store.harnesses.get(ACCOUNT, harness_id, "1")).config == CONFIG


async def test_one_token_sent_twice_at_once_updates_once(store: Store) -> None:
    harness_id = await create(store)
    first, second = await asyncio.gather(
        begin_update(store, harness_id, "token"), begin_update(store, harness_id, "token")
    )
    assert first == second
    assert (await store.harnesses.get(ACCOUNT, harness_id)).version == "2"


async def test_a_change_that_raises_leaves_nothing_not_even_its_token(store: Store) -> None:
    harness_id = await create(store)

    def refuse(_: HarnessConfig) -> HarnessConfig:
        raise ServiceError(AwsError.VALIDATION, "no")

    with pytest.raises(ServiceError, match="no"):
        await store.harnesses.update(
            ACCOUNT, harness_id, refuse, client_token="token", params_digest="d"
        )
    assert (await update(store, harness_id, "token")).version == "2"


@pytest.mark.wire("harness.token-window")
async def test_a_token_still_answers_after_the_harness_is_gone(store: Store) -> None:
    harness_id = await create(store)
    first = await update(store, harness_id, "token")
    await delete(store, harness_id)
    assert await update(store, harness_id, "token") == first
    with pytest.raises(ServiceError, match="does not exist"):
        await update(store, harness_id)
    with pytest.raises(ServiceError, match="does not exist"):
        await store.harnesses.versions(ACCOUNT, harness_id, limit=1, after=None)


async def test_pages_of_versions_stay_whole_under_updates(store: Store) -> None:
    harness_id = await create(store)
    for _ in range(4):
        await update(store, harness_id)
    seen: list[str] = []
    after = None
    while True:
        page, after = await store.harnesses.versions(ACCOUNT, harness_id, limit=2, after=after)
        seen += [record.version for record in page]
        if after is None:
            break
        await update(store, harness_id)
    assert seen == ["5", "4", "3", "2", "1"]


async def test_a_token_of_another_list_is_refused(store: Store) -> None:
    await create(store)
    harness_id = await create(store, "other")
    _, after = await store.harnesses.list(ACCOUNT, limit=1, after=None)
    assert after is not None
    with pytest.raises(ServiceError, match="nextToken"):
        await store.harnesses.versions(ACCOUNT, harness_id, limit=1, after=after)


@pytest.mark.wire("harness.quotas")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_harness_has_at_most_so_many_versions(store: Store) -> None:
    harness_id = await create(store)
    for _ in range(MAX_VERSIONS - 1):
        await update(store, harness_id)
    page, _ = await store.harnesses.versions(ACCOUNT, harness_id, limit=1, after=None)
    assert [record.version for record in page] == [str(MAX_VERSIONS)]
    with pytest.raises(ServiceError, match=str(MAX_VERSIONS)) as caught:
        await update(store, harness_id)
    assert caught.value.detail.error is AwsError.QUOTA


@pytest.mark.wire("harness.quotas")
async def test_an_account_has_at_most_so_many_harnesses(store: Store) -> None:
    first = await create(store)
    for number in range(MAX_HARNESSES - 2):
        await store.harnesses.create(
            ACCOUNT, f"h{number}", CONFIG, client_token=None, params_digest="d"
        )
    both = await asyncio.gather(
        create(store, "last"), create(store, "too_many"), return_exceptions=True
    )
    refused = [one for one in both if isinstance(one, ServiceError)]
    assert [one.detail.error for one in refused] == [AwsError.QUOTA]
    await delete(store, first)
    assert await create(store, "room_again")
