"""A sandbox host's name belongs to one process, whatever data directory others come with."""

from pathlib import Path

import pytest

from contracts.environment import HostVolumes
from contracts.errors import EnvironmentUnavailable, StaleAttempt
from environments import host as hosts
from environments.bubblewrap import Bubblewrap
from environments.host import SandboxHost
from store import Store
from tests.environments.sandboxes import SPEC, run


def named(store: Store, data_dir: Path) -> SandboxHost:
    provider = Bubblewrap(data_dir)
    return SandboxHost(store, data_dir=data_dir, host_id="here", provider=provider)


async def test_a_second_host_of_the_name_is_refused_while_the_first_lives(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with named(store, tmp_path / "one") as first:
        async with first.use("s", SPEC) as environment:
            await run(environment, "true")
        with monkeypatch.context() as patched:
            patched.setattr(hosts, "LEASE_S", 0.1)
            with pytest.raises(EnvironmentUnavailable, match=r"name 'here' .* EVERLOOP_HOST_ID"):
                await named(store, tmp_path / "two").__aenter__()
        async with first.use("s", SPEC) as environment:
            assert not environment.restarted
        await first.delete("s")
    # Told to end, it gave the name back.
    async with named(store, tmp_path / "two"):
        pass


async def test_a_host_that_slept_and_lost_its_name_does_nothing_more(
    store: Store, tmp_path: Path
) -> None:
    async with named(store, tmp_path / "one") as first:
        async with first.use("s", SPEC):
            pass
        await store.environments.beat("here", lease_s=-1)
        async with named(store, tmp_path / "two"):
            first._lease.renewed(-1000.0)  # pyright: ignore[reportPrivateUsage]
            with pytest.raises(StaleAttempt, match="another sandbox host has the name"):
                async with first.use("s", SPEC):
                    pass
            assert first.lost.is_set()
        # It does not give away what is another's.
        assert await store.environments.claim("here", "three", HostVolumes())
    provider = Bubblewrap(tmp_path / "one")
    await provider.stop_orphans(())


async def test_a_killed_host_has_its_name_again_at_once(store: Store, tmp_path: Path) -> None:
    records = store.environments
    assert await records.claim("here", "one", HostVolumes())
    await records.beat("here", lease_s=60, place="one")
    assert not await records.claim("here", "two", HostVolumes())
    assert await records.claim("here", "one", HostVolumes())


async def test_hosts_of_two_databases_are_never_called_the_same(
    store: Store, tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "other.db").write_bytes(empty_database.read_bytes())
    other = await Store.open(f"sqlite:///{tmp_path / 'other.db'}")
    mine = await store.environments.owner("here")
    assert await store.environments.owner("here") == mine
    assert mine not in (
        await other.environments.owner("here"),
        await store.environments.owner("there"),
    )
    await other.close()
