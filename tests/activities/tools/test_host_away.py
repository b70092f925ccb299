"""What becomes of a call whose sandbox host does not answer."""

from dataclasses import replace

from activities.turns import TurnActivities
from contracts.environment import EnvironmentState, HostVolumes
from contracts.messages import ToolStatus
from contracts.turn import GiveUpCall
from store import Store
from tests.activities.tools.conftest import SESSION, Calls


async def test_the_host_is_found_again_when_another_has_the_files(
    calls: Calls, store: Store
) -> None:
    turns = TurnActivities(store)
    await store.environments.beat("here", lease_s=-1)
    for name in ("here", "there"):
        assert await store.environments.claim(name, "place", HostVolumes("shared"))
    await store.environments.beat("here", lease_s=60)
    assert await calls.activity().run(turns.find_host) == "sandbox-here"
    await store.environments.beat("there", lease_s=60)
    await store.environments.beat("here", lease_s=-1)
    assert await calls.activity().run(turns.find_host) == "sandbox-there"


async def test_a_call_that_is_given_up_names_the_dead_host(calls: Calls, store: Store) -> None:
    turns = TurnActivities(store)
    await store.environments.assign(SESSION, "here")
    (id,) = await calls.ask("shell", {"command": "true"})
    await store.environments.beat("here", lease_s=-1)
    await calls.activity().run(turns.give_up_call, GiveUpCall("i", id, "unreachable"))
    record = await store.calls.get(SESSION, id)
    assert record.status is ToolStatus.ERROR
    assert "(sandbox host 'here') did not answer" in "".join(record.content)
    assert "no other machine has them" in "".join(record.content)


async def test_a_model_is_told_once_that_files_are_lost(calls: Calls, store: Store) -> None:
    await calls.do("shell", command="echo x > f")
    await calls.host.stop(SESSION)
    record = await store.environments.get(SESSION)
    assert record is not None
    lost = replace(record, state=EnvironmentState.FILES_LOST, reference={"host": "there"})
    await store.environments.put(lost, expected_generation=record.generation)
    first, second = ["".join((await calls.do("shell", command="true")).content) for _ in range(2)]
    assert "died with its files: /mnt/session was begun anew and is empty" in first
    assert "died" not in second and "restarted" not in second
