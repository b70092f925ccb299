"""The vault under KMS, through botocore and a server that speaks KMS's protocol."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contracts.errors import KeyRefused, KeyRingAway, SecretUnreadable
from contracts.settings import Settings
from contracts.vault import ApiKeyProviderArn
from store import KmsRing, RingSource, Store, ring_of
from store.vault_kms import Kms
from store.vault_tables import access_key, api_key_provider
from tests.providers.kms import KmsServer, Refusal
from tests.store.test_admin_command import everloop
from tests.store.test_vault import ACCOUNT, KEY, REGION, STRANGERS_RING, execute

OpenStore = Callable[..., Any]


def arn(name: str = "openai") -> ApiKeyProviderArn:
    return ApiKeyProviderArn(REGION, ACCOUNT, name)


@pytest.fixture(scope="module")
def server() -> Iterator[KmsServer]:
    made = KmsServer().start()
    yield made
    made.stop()


@pytest.fixture
def kms(server: KmsServer, monkeypatch: pytest.MonkeyPatch) -> KmsServer:
    server.keys.clear()
    server.asked.clear()
    server.fails = lambda operation: None
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def key(kms: KmsServer) -> str:
    return kms.make_key()


@pytest.fixture
async def opened(url: str, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens the database under a ring, as a process of its own would."""
    stores: list[Store] = []

    async def open_store(key_arn: str) -> Store:
        stores.append(await Store.open(url, ring_under(key_arn, tmp_path)))
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()


def ring_under(key_arn: str, data_dir: Path) -> KmsRing:
    settings = Settings.from_env(
        {"EVERLOOP_DATA_DIR": str(data_dir), "EVERLOOP_KEYRING": f"kms:{key_arn}"}
    )
    ring = ring_of(settings)
    assert isinstance(ring, KmsRing)
    return ring


async def test_a_secret_is_wrapped_by_kms_and_unwrapped_once(
    opened: OpenStore, url: str, kms: KmsServer, key: str
) -> None:
    store = await opened(key)
    await store.api_keys.create(arn(), KEY)
    assert kms.asked == [("GenerateDataKey", key)]
    (row,) = await execute(url, sa.select(api_key_provider))
    assert row.key_id == key
    assert KEY.encode() not in row.body + row.wrapped_key
    another = await opened(key)
    for _ in range(3):
        assert await another.api_keys.reveal(arn()) == KEY
    assert kms.asked[1:] == [("Decrypt", key)]
    updated = await another.api_keys.update(arn(), "second")
    assert updated.arn == arn()
    assert await store.api_keys.reveal(arn()) == "second"


async def test_an_envelope_is_bound_to_what_it_is_for(
    opened: OpenStore, url: str, kms: KmsServer, key: str
) -> None:
    store = await opened(key)
    for name, secret in (("mine", KEY), ("theirs", "other")):
        await store.api_keys.create(arn(name), secret)
    theirs = sa.select(api_key_provider).where(api_key_provider.c.arn == str(arn("theirs")))
    (row,) = await execute(url, theirs)
    moved = {name: getattr(row, name) for name in ("key_id", "wrapped_key", "body")}
    mine = sa.update(api_key_provider).where(api_key_provider.c.arn == str(arn("mine")))
    await execute(url, mine.values(moved))
    with pytest.raises(SecretUnreadable, match=f"{arn('mine')}.*does not open under {key}"):
        await store.api_keys.reveal(arn("mine"))


async def test_a_key_of_another_account_is_never_used(
    opened: OpenStore, url: str, kms: KmsServer, key: str
) -> None:
    intruder = kms.make_key(account="999900001111")
    forger = await opened(intruder)
    await forger.api_keys.create(arn(), "planted")
    store = await opened(key)
    kms.asked.clear()
    with pytest.raises(SecretUnreadable, match="another account"):
        await store.api_keys.reveal(arn())
    await store.token_vault.choose(intruder)
    with pytest.raises(KeyRefused, match="another account"):
        await store.api_keys.create(arn("second"), KEY)
    assert kms.asked == []


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("AccessDeniedException", 400, KeyRefused),
        ("KMSInvalidStateException", 409, KeyRefused),
        ("KMSInternalException", 500, KeyRingAway),
        ("ThrottlingException", 400, KeyRingAway),
    ],
)
async def test_what_kms_refuses_says_so_and_what_passes_is_told_apart(
    opened: OpenStore, kms: KmsServer, key: str, name: str, status: int, kind: type[Exception]
) -> None:
    def refuse(operation: str) -> None:
        raise Refusal(name, "no", status)

    store = await opened(key)
    kms.fails = refuse
    with pytest.raises(kind, match=name) as caught:
        await store.api_keys.create(arn(), KEY)
    assert type(caught.value) is kind


async def test_a_short_outage_of_kms_is_waited_out(
    opened: OpenStore, kms: KmsServer, key: str
) -> None:
    def refuse_once(operation: str) -> None:
        if len(kms.asked) == 1:
            raise Refusal("KMSInternalException", "no", 500)

    store = await opened(key)
    kms.fails = refuse_once
    await store.api_keys.create(arn(), KEY)
    assert len(kms.asked) == 2


async def test_a_kms_that_is_not_there_is_told(
    opened: OpenStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    store = await opened(key)
    with pytest.raises(KeyRingAway, match="KMS cannot be asked"):
        await store.api_keys.create(arn(), KEY)


async def test_a_deleted_key_takes_its_secrets_with_it(
    opened: OpenStore, kms: KmsServer, key: str
) -> None:
    await (await opened(key)).api_keys.create(arn(), KEY)
    kms.keys[key].enabled = False
    store = await opened(key)
    with pytest.raises(KeyRefused, match="DisabledException"):
        await store.api_keys.reveal(arn())
    del kms.keys[key]
    with pytest.raises(SecretUnreadable, match="does not exist"):
        await store.api_keys.reveal(arn())


async def test_a_vault_moves_from_a_file_to_kms(
    opened: OpenStore, url: str, tmp_path: Path, kms: KmsServer, key: str
) -> None:
    before = await Store.open(url, RingSource(tmp_path / "keyring.json", may_create=True))
    await before.api_keys.create(arn(), KEY)
    made = await before.access_keys.create(ACCOUNT, "ci", expires_at=None)
    store = await opened(key)
    assert await store.api_keys.reveal(arn()) == KEY
    assert kms.asked == []
    assert await store.rotation.rewrap() == 2
    (tmp_path / "keyring.json").unlink()
    after = await opened(key)
    assert await after.api_keys.reveal(arn()) == KEY
    found = await after.access_keys.find(made.record.access_key_id)
    assert found is not None and found.secret == made.secret
    stranger = await Store.open(url, RingSource(tmp_path / "none", given=STRANGERS_RING))
    with pytest.raises(SecretUnreadable, match=f"EVERLOOP_KEYRING was kms:{key}"):
        await stranger.api_keys.reveal(arn())
    await before.close()
    await stranger.close()


async def test_what_does_not_open_does_not_hold_up_the_rest(
    opened: OpenStore, url: str, kms: KmsServer, key: str
) -> None:
    store = await opened(key)
    for name in ("a", "b", "c"):
        await store.api_keys.create(arn(name), KEY)
    damaged = sa.update(api_key_provider).where(api_key_provider.c.arn == str(arn("b")))
    await execute(url, damaged.values(wrapped_key=b"x" * 80))
    other = kms.make_key()
    await store.token_vault.choose(other)
    with pytest.raises(SecretUnreadable, match=f"2 secrets were.*1 were not.*{arn('b')}"):
        await store.rotation.rewrap()
    del kms.keys[key]
    fresh = await opened(other)
    assert await fresh.api_keys.reveal(arn("a")) == await fresh.api_keys.reveal(arn("c")) == KEY


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_the_command_wraps_anew_after_kms_rotated_inside_a_key(
    opened: OpenStore, url: str, tmp_path: Path, kms: KmsServer, key: str
) -> None:
    env = {**kms.env, "EVERLOOP_KEYRING": f"kms:{key}"}
    store = await opened(key)
    await store.access_keys.create(ACCOUNT, "ci", expires_at=None)
    kms.rotate(key)
    assert await store.rotation.rewrap() == 0
    done = everloop(tmp_path, "vault", "rotate", **env)
    assert done.returncode == 0, done.stderr
    assert f"1 secrets were wrapped anew under {key}" in done.stdout
    (row,) = await execute(url, sa.select(access_key))
    assert kms.materials_of(row.wrapped_key) == 1
    assert not (tmp_path / "keyring.json").exists()
    kms.keys[key].enabled = False
    refused = everloop(tmp_path, "vault", "rotate", **env)
    assert refused.returncode == 1 and "DisabledException" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("given", ["kms:", "kms:alias/mine", "kms:arn:aws:kms:eu-west-1:1:key/x"])
def test_what_names_no_key_is_refused_at_the_start(given: str) -> None:
    with pytest.raises(ValueError, match="EVERLOOP_KEYRING.*alias does not do"):
        Settings.from_env({"EVERLOOP_KEYRING": given})


async def test_unwrapped_keys_are_forgotten_in_time(
    url: str, tmp_path: Path, kms: KmsServer, key: str
) -> None:
    ring = ring_under(key, tmp_path)
    keeps = await Store.open(url, ring)
    forgets = await Store.open(url, replace(ring, kms=Kms(kept_s=0)))
    await keeps.api_keys.create(arn(), KEY)
    assert await keeps.api_keys.reveal(arn()) == await forgets.api_keys.reveal(arn()) == KEY
    kms.keys[key].enabled = False
    assert await keeps.api_keys.reveal(arn()) == KEY
    with pytest.raises(KeyRefused):
        await forgets.api_keys.reveal(arn())
    await keeps.close()
    await forgets.close()
