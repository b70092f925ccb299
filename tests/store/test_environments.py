from dataclasses import replace

import pytest

from contracts.environment import EnvironmentRecord, EnvironmentState, HostVolumes
from contracts.errors import ServiceError, StaleAttempt
from store import Store
from tests.store.play import Play

RECORD = EnvironmentRecord(
    session="session:a",
    provider="bubblewrap",
    host="host-1",
    generation=1,
    boot_id="boot-1",
    state=EnvironmentState.RUNNING,
    reference={"pid": 12, "socket": "s"},
)


async def test_a_record_is_replaced_only_by_who_knows_its_generation(store: Store) -> None:
    environments = store.environments
    await environments.put(RECORD, expected_generation=None)
    assert await environments.get(RECORD.session) == RECORD
    newer = replace(RECORD, generation=2, boot_id="boot-2", state=EnvironmentState.STOPPED)
    with pytest.raises(StaleAttempt):
        await environments.put(newer, expected_generation=None)
    await environments.put(newer, expected_generation=1)
    with pytest.raises(StaleAttempt):
        await environments.put(replace(RECORD, generation=2), expected_generation=1)
    assert await environments.get(RECORD.session) == newer


async def test_a_missing_record_is_not_replaced(store: Store) -> None:
    with pytest.raises(StaleAttempt):
        await store.environments.put(RECORD, expected_generation=1)
    assert await store.environments.get(RECORD.session) is None


async def test_a_host_knows_its_environments_until_they_are_deleted(store: Store) -> None:
    environments = store.environments
    other = replace(RECORD, session="session:b")
    elsewhere = replace(RECORD, session="session:c", host="host-2")
    for record in (RECORD, other, elsewhere):
        await environments.put(record, expected_generation=None)
    assert await environments.on_host("host-1") == (RECORD, other)
    await environments.delete(RECORD.session)
    await environments.delete(RECORD.session)
    assert await environments.on_host("host-1") == (other,)


async def test_a_lease_runs_out_and_is_renewed(store: Store) -> None:
    environments = store.environments
    await environments.beat("host-1", lease_s=60)
    await environments.beat("host-2", lease_s=60)
    assert await environments.alive() == ("host-1", "host-2")
    await environments.beat("host-1", lease_s=-1)
    assert await environments.alive() == ("host-2",)
    await environments.beat("host-1", lease_s=60)
    assert await environments.alive() == ("host-1", "host-2")


async def test_a_session_keeps_the_host_that_it_was_assigned(play: Play) -> None:
    environments = play.store.environments
    await play.admit("i1")
    assert await environments.assign(play.session, "host-2") is None
    await environments.beat("host-1", lease_s=60)
    await environments.beat("host-2", lease_s=60)
    assert await environments.assign(play.session, "host-2") == "host-2"
    await environments.beat("host-2", lease_s=-1)
    assert await environments.assign(play.session, "host-1") == "host-2"


async def test_without_its_default_a_session_gets_the_least_used_host(play: Play) -> None:
    environments = play.store.environments
    await play.admit("i1")
    await environments.put(RECORD, expected_generation=None)
    for host in ("host-1", "host-2"):
        await environments.beat(host, lease_s=60)
    assert await environments.assign(play.session, "host-3") == "host-2"


async def test_a_dead_hosts_session_goes_to_one_that_shares_its_volumes(play: Play) -> None:
    environments = play.store.environments
    await play.admit("i1")
    await environments.claim("host-1", "place", HostVolumes("shared"))
    await environments.claim("host-2", "place", HostVolumes("others", may_lose_files=True))
    await environments.claim("host-3", "place", HostVolumes("shared"))
    for host in ("host-1", "host-2", "host-3"):
        await environments.beat(host, lease_s=60)
    assert await environments.assign(play.session, "host-1") == "host-1"
    mine = replace(RECORD, session=play.session, generation=4)
    await environments.put(mine, expected_generation=None)
    await environments.beat("host-1", lease_s=-1)
    assert await environments.assign(play.session, None) == "host-3"
    moved = replace(mine, host="host-3", generation=5, state=EnvironmentState.STOPPED, reference={})
    assert await environments.get(play.session) == moved
    with pytest.raises(StaleAttempt):
        await environments.put(mine, expected_generation=4)
    # It stays there, also when the first host is back.
    await environments.beat("host-1", lease_s=60)
    assert await environments.assign(play.session, "host-1") == "host-3"
    assert await environments.host_of(play.session) == "host-3"


async def test_a_host_that_comes_back_cannot_begin_what_was_moved_before_its_first_environment(
    play: Play,
) -> None:
    environments = play.store.environments
    await play.admit("i1")
    for host in ("host-1", "host-2"):
        await environments.claim(host, "place", HostVolumes("shared"))
    await environments.beat("host-1", lease_s=60)
    await environments.assign(play.session, None)
    await environments.beat("host-1", lease_s=-1)
    await environments.beat("host-2", lease_s=60)
    assert await environments.host_of(play.session) == "host-2"
    with pytest.raises(StaleAttempt):
        late = replace(RECORD, session=play.session)
        await environments.put(late, expected_generation=None)


async def test_an_unknown_session_gets_no_host(store: Store) -> None:
    await store.environments.beat("host-1", lease_s=60)
    with pytest.raises(ServiceError, match="session:nowhere"):
        await store.environments.assign("session:nowhere", None)
