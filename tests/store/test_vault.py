import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from contracts.errors import AwsError, KeyRingFault, SecretUnreadable, ServiceError
from contracts.vault import ApiKeyProviderArn
from store import RingSource, Store
from store.engine import open_database
from store.vault_keyring import KeyRing
from store.vault_tables import access_key, api_key_provider
from tests.store.play import ACCOUNT

REGION = "us-east-1"
KEY = "sk-the-planted-secret-value"
RING_ELSEWHERE = Path("/nonexistent/keyring.json")
STRANGERS_RING = KeyRing.new().text()


def arn(name: str = "openai", account: str = ACCOUNT, region: str = REGION) -> ApiKeyProviderArn:
    return ApiKeyProviderArn(region, account, name)


async def execute(url: str, statement: Any) -> list[Any]:
    """Run a statement as somebody who has the database, but not the store."""

    def work(connection: Connection) -> list[Any]:
        result = connection.execute(statement)
        return list(result) if result.returns_rows else []

    database = open_database(url)
    rows = await database.write(work)
    await database.close()
    return rows


async def names(store: Store, limit: int = 100) -> list[str]:
    page, _ = await store.api_keys.list(ACCOUNT, REGION, limit=limit, after=None)
    return [record.arn.name for record in page]


async def test_a_key_comes_out_as_it_went_in_and_only_by_reveal(store: Store, url: str) -> None:
    created = await store.api_keys.create(arn(), KEY)
    assert created.arn == arn()
    assert created.created_at == created.updated_at
    assert await store.api_keys.get(arn()) == created
    assert await store.api_keys.reveal(arn()) == KEY
    (row,) = await execute(url, sa.select(api_key_provider))
    assert KEY.encode() not in row.body + row.wrapped_key
    assert KEY not in repr(created)


async def test_a_name_is_taken_in_its_account_and_region_only(store: Store) -> None:
    await store.api_keys.create(arn(), KEY)
    with pytest.raises(ServiceError, match="openai already exists") as caught:
        await store.api_keys.create(arn(), "other")
    assert caught.value.detail.error is AwsError.CONFLICT
    await store.api_keys.create(arn(account="111122223333"), "theirs")
    await store.api_keys.create(arn(region="eu-west-1"), "elsewhere")
    assert await store.api_keys.reveal(arn()) == KEY
    assert await names(store) == ["openai"]


async def test_a_replaced_key_is_the_one_that_is_given_out(store: Store) -> None:
    created = await store.api_keys.create(arn(), KEY)
    updated = await store.api_keys.update(arn(), "second")
    assert updated.created_at == created.created_at < updated.updated_at
    assert updated.secret_id == created.secret_id
    assert await store.api_keys.reveal(arn()) == "second"


async def test_keys_replaced_at_once_leave_one_that_can_be_read(store: Store) -> None:
    await store.api_keys.create(arn(), KEY)
    keys = [f"k{number}" for number in range(4)]
    await asyncio.gather(*(store.api_keys.update(arn(), key) for key in keys))
    assert await store.api_keys.reveal(arn()) in keys


async def test_a_deleted_key_is_gone(store: Store, url: str) -> None:
    await store.api_keys.create(arn(), KEY)
    await store.api_keys.delete(arn())
    for use in (store.api_keys.get, store.api_keys.reveal, store.api_keys.delete):
        with pytest.raises(ServiceError, match=str(arn())) as caught:
            await use(arn())
        assert caught.value.detail.error is AwsError.NOT_FOUND
    with pytest.raises(ServiceError, match=str(arn())):
        await store.api_keys.update(arn(), KEY)
    assert await execute(url, sa.select(api_key_provider)) == []


async def test_pages_neither_repeat_nor_hide(store: Store) -> None:
    for number in range(5):
        await store.api_keys.create(arn(f"n{number}"), KEY)
    seen: list[str] = []
    after = None
    while True:
        page, after = await store.api_keys.list(ACCOUNT, REGION, limit=2, after=after)
        seen += [record.arn.name for record in page]
        if after is None:
            break
        await store.api_keys.create(arn(f"late{len(seen)}"), KEY)
    assert seen[:5] == [f"n{number}" for number in range(5)]
    assert len(seen) == len(set(seen))
    with pytest.raises(ServiceError, match="maxResults"):
        await store.api_keys.list(ACCOUNT, REGION, limit=101, after=None)


async def test_an_envelope_does_not_open_in_another_row(store: Store, url: str) -> None:
    await store.api_keys.create(arn("mine"), KEY)
    await store.api_keys.create(arn("theirs"), "other")
    (theirs,) = await execute(
        url, sa.select(api_key_provider).where(api_key_provider.c.arn == str(arn("theirs")))
    )
    moved = {name: getattr(theirs, name) for name in ("key_id", "wrapped_key", "body")}
    await execute(
        url,
        sa.update(api_key_provider).where(api_key_provider.c.arn == str(arn("mine"))).values(moved),
    )
    with pytest.raises(SecretUnreadable, match=str(arn("mine"))):
        await store.api_keys.reveal(arn("mine"))


@pytest.mark.parametrize("column", ["body", "wrapped_key"])
async def test_a_damaged_envelope_names_what_it_holds(store: Store, url: str, column: str) -> None:
    await store.api_keys.create(arn(), KEY)
    (row,) = await execute(url, sa.select(api_key_provider))
    damaged = bytearray(getattr(row, column))
    damaged[-1] ^= 1
    await execute(url, sa.update(api_key_provider).values({column: bytes(damaged)}))
    with pytest.raises(SecretUnreadable, match=str(arn())):
        await store.api_keys.reveal(arn())


async def test_rotation_wraps_anew_and_needs_no_old_key(
    store: Store, url: str, ring: RingSource
) -> None:
    await store.api_keys.create(arn(), KEY)
    made = await store.access_keys.create(ACCOUNT, "ci", expires_at=None)
    bodies = await execute(url, sa.select(api_key_provider.c.body))
    assert await store.rotation.rewrap() == 0
    after = ring.rotate()
    assert await store.api_keys.reveal(arn()) == KEY
    assert await store.rotation.rewrap() == 2
    assert await store.rotation.rewrap() == 0
    assert await execute(url, sa.select(api_key_provider.c.body)) == bodies

    newest = after.model_copy(update={"keys": {after.primary: after.keys[after.primary]}})
    alone = await Store.open(url, RingSource(ring.path, given=newest.text()))
    assert await alone.api_keys.reveal(arn()) == KEY
    found = await alone.access_keys.find(made.record.access_key_id)
    assert found is not None and found.secret == made.secret
    await alone.close()


async def test_a_ring_without_the_key_says_which_secret_is_lost(store: Store, url: str) -> None:
    await store.api_keys.create(arn(), KEY)
    stranger = await Store.open(url, RingSource(RING_ELSEWHERE, given=STRANGERS_RING))
    with pytest.raises(SecretUnreadable, match=rf"{arn()}.*no key"):
        await stranger.api_keys.reveal(arn())
    with pytest.raises(SecretUnreadable, match=str(arn())):
        await stranger.rotation.rewrap()
    await stranger.close()


async def test_a_process_without_a_ring_reads_no_secret(store: Store, url: str) -> None:
    await store.api_keys.create(arn(), KEY)
    without = await Store.open(url)
    with pytest.raises(KeyRingFault):
        await without.api_keys.reveal(arn())
    with pytest.raises(KeyRingFault):
        await without.access_keys.create(ACCOUNT, "x", expires_at=None)
    await without.close()


async def test_an_access_key_stands_for_a_user_with_roles(store: Store) -> None:
    made = await store.access_keys.create(
        ACCOUNT, "", expires_at=None, user="ada", roles=("finance", "ops")
    )
    found = await store.access_keys.find(made.record.access_key_id)
    assert found and (found.record.user, found.record.roles) == ("ada", ("finance", "ops"))


async def test_an_access_key_is_found_by_its_id_until_it_is_deleted(store: Store, url: str) -> None:
    made = await store.access_keys.create(ACCOUNT, "ci", expires_at=None)
    key_id = made.record.access_key_id
    assert made.secret not in repr(made)
    assert (len(key_id), len(made.secret)) == (20, 40)
    assert await store.access_keys.find(key_id) == made
    assert await store.access_keys.list() == [made.record]
    (row,) = await execute(url, sa.select(access_key))
    assert made.secret.encode() not in row.body + row.wrapped_key
    await store.access_keys.delete(key_id)
    assert await store.access_keys.find(key_id) is None
    with pytest.raises(ServiceError, match=key_id):
        await store.access_keys.delete(key_id)
