"""Changes of harnesses and endpoints: each step once, whoever repeats it and whenever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from contracts.environment import EnvironmentRecord, EnvironmentState
from contracts.errors import AwsError, EnvironmentUnavailable, Reason, ServiceError
from contracts.messages import StopReason
from contracts.provisioning import Operation
from contracts.records import EndpointRecord, HarnessRecord
from store import Store
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG, Play, inline, sandbox, says, unanswered


async def create(store: Store, token: str | None = None) -> HarnessRecord:
    return await store.harnesses.create(
        ACCOUNT, "helper", CONFIG, client_token=token, params_digest="d"
    )


async def ready(store: Store) -> str:
    made = await create(store)
    await settle(store, made.operation)
    return made.harness_id


async def update(store: Store, harness_id: str) -> HarnessRecord:
    return await store.harnesses.update(
        ACCOUNT, harness_id, lambda config: config, client_token=None, params_digest="d"
    )


async def delete(store: Store, harness_id: str, token: str | None = None) -> HarnessRecord:
    return await store.harnesses.delete(ACCOUNT, harness_id, client_token=token, params_digest="d")


async def endpoint(store: Store, harness_id: str, token: str | None = None) -> EndpointRecord:
    return await store.endpoints.create(
        ACCOUNT,
        harness_id,
        "prod",
        version="1",
        description=None,
        client_token=token,
        params_digest="d",
    )


async def point(store: Store, harness_id: str, version: str) -> EndpointRecord:
    return await store.endpoints.update(
        ACCOUNT,
        harness_id,
        "prod",
        version=version,
        description=None,
        client_token=None,
        params_digest="d",
    )


async def drop_endpoint(store: Store, harness_id: str) -> EndpointRecord:
    return await store.endpoints.delete(
        ACCOUNT, harness_id, "prod", client_token=None, params_digest="d"
    )


def under_way(record: HarnessRecord | EndpointRecord) -> Operation:
    assert record.operation is not None
    return record.operation


async def served(store: Store, harness_id: str, qualifier: str = "DEFAULT") -> str:
    return (await store.harnesses.serving(ACCOUNT, harness_id, qualifier)).version


async def status(store: Store, harness_id: str) -> tuple[str, str | None, str | None]:
    found = await store.harnesses.get(ACCOUNT, harness_id)
    return found.status, found.live_version, found.failure_reason


async def refused(call: Awaitable[object]) -> AwsError:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value.detail.error


async def test_what_is_created_is_served_once_it_is_ready(store: Store) -> None:
    made = await create(store)
    assert await refused(served(store, made.harness_id)) is AwsError.THROTTLING
    await store.provisioning.settle(under_way(made), None)
    assert await status(store, made.harness_id) == ("READY", "1", None)
    assert await served(store, made.harness_id) == "1"


async def test_a_failed_creation_says_why_and_can_be_mended_or_deleted(store: Store) -> None:
    made = await create(store)
    await store.provisioning.settle(under_way(made), "it cannot be served")
    assert await status(store, made.harness_id) == ("CREATE_FAILED", None, "it cannot be served")
    with pytest.raises(ServiceError, match="CREATE_FAILED.*it cannot be served") as caught:
        await served(store, made.harness_id)
    assert caught.value.detail.reason is Reason.RESOURCE_CONFLICT
    mended = await update(store, made.harness_id)
    assert mended.failure_reason is None
    await settle(store, mended.operation)
    assert await status(store, made.harness_id) == ("READY", "2", None)


async def test_default_serves_the_old_version_until_the_new_one_is_ready(store: Store) -> None:
    harness_id = await ready(store)
    second = await update(store, harness_id)
    shown = await store.endpoints.get(ACCOUNT, harness_id, "DEFAULT")
    assert (shown.status, shown.live_version, shown.target_version) == ("UPDATING", "1", "2")
    assert await served(store, harness_id) == "1"
    await store.provisioning.settle(under_way(second), None)
    assert await served(store, harness_id) == "2"
    third = await update(store, harness_id)
    await store.provisioning.settle(under_way(third), "no")
    assert await status(store, harness_id) == ("UPDATE_FAILED", "2", "no")
    assert await served(store, harness_id) == "2"


async def test_a_step_that_comes_late_or_again_changes_nothing(store: Store) -> None:
    made = await create(store)
    await store.provisioning.settle(under_way(made), None)
    second = await update(store, made.harness_id)
    await store.provisioning.settle(under_way(made), "late")
    await store.provisioning.finish_delete(under_way(made))
    assert (await status(store, made.harness_id))[0] == "UPDATING"
    assert await store.provisioning.look(under_way(made)) is None
    await store.provisioning.settle(under_way(second), None)
    await store.provisioning.settle(under_way(second), "again")
    assert await status(store, made.harness_id) == ("READY", "2", None)


async def test_nothing_else_is_changed_while_a_change_is_under_way(store: Store) -> None:
    harness_id = await ready(store)
    pinned = await endpoint(store, harness_id)
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: point(store, harness_id, "1"),
        lambda: drop_endpoint(store, harness_id),
    ]
    for change in changes:
        assert await refused(change()) is AwsError.CONFLICT
    await settle(store, pinned.operation)
    await update(store, harness_id)
    changes += [lambda: update(store, harness_id), lambda: delete(store, harness_id)]
    for change in changes:
        assert await refused(change()) is AwsError.CONFLICT


async def test_an_endpoint_serves_its_live_version_and_goes_with_its_tags(store: Store) -> None:
    harness_id = await ready(store)
    await settle(store, (await update(store, harness_id)).operation)
    made = await endpoint(store, harness_id)
    assert (made.status, made.live_version, made.target_version) == ("CREATING", None, "1")
    assert await refused(served(store, harness_id, "prod")) is AwsError.THROTTLING
    await settle(store, made.operation)
    moved = await point(store, harness_id, "2")
    assert (moved.status, moved.live_version, moved.target_version) == ("UPDATING", "1", "2")
    assert await served(store, harness_id, "prod") == "1"
    await settle(store, moved.operation)
    assert await served(store, harness_id, "prod") == "2"
    await store.tags.put(ACCOUNT, harness_id, "prod", {"stage": "prod"})
    going = await drop_endpoint(store, harness_id)
    assert going.status == "DELETING"
    assert await refused(served(store, harness_id, "prod")) is AwsError.NOT_FOUND
    await settle(store, going.operation)
    assert await refused(store.endpoints.get(ACCOUNT, harness_id, "prod")) is AwsError.NOT_FOUND
    await settle(store, (await endpoint(store, harness_id)).operation)
    assert await store.tags.list(ACCOUNT, harness_id, "prod") == {}


async def test_a_repeated_token_brings_the_operation_while_it_is_under_way(store: Store) -> None:
    made = await create(store, "token")
    assert (await create(store, "token")).operation == under_way(made)
    await settle(store, made.operation)
    again = await create(store, "token")
    assert (again.status, again.operation) == ("CREATING", None)
    pinned = await endpoint(store, made.harness_id, "token")
    assert (await endpoint(store, made.harness_id, "token")).operation == under_way(pinned)
    await settle(store, pinned.operation)
    assert (await endpoint(store, made.harness_id, "token")).operation is None


async def test_every_operation_under_way_is_found_until_it_has_ended(store: Store) -> None:
    made = await create(store)
    assert list(await store.provisioning.under_way()) == [under_way(made)]
    await settle(store, made.operation)
    pinned = await endpoint(store, made.harness_id)
    second = await update(store, made.harness_id)
    found = set(await store.provisioning.under_way())
    assert found == {under_way(pinned), under_way(second)}
    for operation in found:
        await settle(store, operation)
    assert list(await store.provisioning.under_way()) == []


async def test_a_deletion_ends_what_runs_and_waits_and_keeps_valid_transcripts(
    store: Store,
) -> None:
    harness_id = await ready(store)
    running, waiting, new, over = [await Play.begin(store, harness_id) for _ in range(4)]
    await running.open("i1")
    await running.step("i1", 0, sandbox("a"))
    await waiting.ask_person("i1", inline("b"))
    await new.admit("i1")
    await over.open("i1")
    await over.step("i1", 0)
    await over.close("i1")
    going = under_way(await delete(store, harness_id))
    left = await store.provisioning.sessions_left(going, after="", limit=9)
    assert [(key, busy) for key, busy, _ in left] == [
        (each.session, True) for each in (running, waiting, new)
    ]
    for _ in range(2):
        for each in (running, waiting, new):
            await store.provisioning.end_session(each.session)
    assert list(await store.provisioning.sessions_left(going, after="", limit=9)) == []
    ended = await store.turns.invocation(running.session, "i1")
    assert ended and ended.stop_reason is StopReason.INTERRUPTED
    never = await store.turns.invocation(new.session, "i1")
    assert never and never.stop_reason is StopReason.INTERRUPTED
    for each in (running, waiting, over):
        messages = await each.messages()
        assert messages and unanswered(messages) == []
    await store.provisioning.finish_delete(going)
    assert await refused(store.harnesses.get(ACCOUNT, harness_id)) is AwsError.NOT_FOUND
    assert (await create(store)).harness_id != harness_id, "the name is free"


async def test_sessions_with_a_host_or_an_environment_are_left_until_they_are_dropped(
    store: Store,
) -> None:
    harness_id = await ready(store)
    assigned, started = [await Play.begin(store, harness_id) for _ in range(2)]
    await store.environments.beat("host-1", lease_s=60)
    for each in (assigned, started):
        await each.open("i1")
        await each.close("i1")
    await store.environments.assign(assigned.session, None)
    record = EnvironmentRecord(
        started.session, "bubblewrap", "host-2", 1, "boot", EnvironmentState.STOPPED, {}
    )
    await store.environments.put(record, expected_generation=None)
    await store.environments.check_wanted(started.session)
    going = under_way(await delete(store, harness_id))

    async def left(after: str = "", limit: int = 9) -> list[tuple[str, bool, str | None]]:
        return list(await store.provisioning.sessions_left(going, after=after, limit=limit))

    first, second = (assigned.session, False, "host-1"), (started.session, False, "host-2")
    assert await left() == [first, second]
    assert await left(limit=1) == [first]
    assert await left(after=assigned.session) == [second]
    with pytest.raises(EnvironmentUnavailable, match="deleted"):
        await store.environments.check_wanted(started.session)
    for each in (assigned, started):
        await store.environments.delete(each.session)
    assert await left() == []


async def test_a_deletion_that_failed_is_taken_up_again_and_nothing_else_is(store: Store) -> None:
    harness_id = await ready(store)
    first = await delete(store, harness_id, "token")
    await store.provisioning.settle(under_way(first), "no sandbox host")
    assert await status(store, harness_id) == ("DELETE_FAILED", "1", "no sandbox host")
    assert await refused(update(store, harness_id)) is AwsError.CONFLICT
    assert await refused(endpoint(store, harness_id)) is AwsError.CONFLICT
    assert await refused(served(store, harness_id)) is AwsError.NOT_FOUND
    again = await delete(store, harness_id, "token")
    assert again.status == "DELETING" and again.operation not in (None, first.operation)
    await settle(store, again.operation)
    assert (await delete(store, harness_id, "token")).operation is None
    assert await refused(delete(store, harness_id)) is AwsError.NOT_FOUND


async def test_a_session_begins_before_the_deletion_and_is_found_or_not_at_all(
    store: Store,
) -> None:
    harness_id = await ready(store)
    plays = [await Play.begin(store, harness_id) for _ in range(6)]
    answers = await asyncio.gather(
        *(each.admit("i1") for each in plays[:3]),
        delete(store, harness_id),
        *(each.admit("i1") for each in plays[3:]),
        return_exceptions=True,
    )
    begun = {
        each.session for each in answers if not isinstance(each, BaseException | HarnessRecord)
    }
    going = next(each for each in answers if isinstance(each, HarnessRecord))
    found = await store.provisioning.sessions_left(under_way(going), after="", limit=9)
    assert {key for key, _, _ in found} == begun
    late = await Play.begin(store, harness_id)
    assert await refused(late.admit("i1", says("late"))) is AwsError.NOT_FOUND
