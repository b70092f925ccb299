"""Statuses in transition on the wire: what is answered meanwhile, and what is started."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

import store.references
from contracts.harness import Tool, ToolType
from contracts.records import HarnessRecord
from store import migrate
from tests.api.live import Live, Turn, live_server
from tests.provisioned import settle
from tests.store.play import ACCOUNT, CONFIG

TOKEN = "0123456789-0123456789-0123456789-abc"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    await asyncio.to_thread(migrate, f"sqlite:///{tmp_path / 'everloop.db'}")
    async with live_server(tmp_path / "everloop.db", tmp_path) as running:
        yield running


async def settle_all(live: Live) -> None:
    for operation in await live.store.provisioning.under_way():
        await settle(live.store, operation)


async def ask(call: Any, **members: Any) -> dict[str, Any]:
    return await asyncio.to_thread(call, **members)


async def refused(call: Any, **members: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(call, **members)
    answer: Any = cast("Any", caught.value).response
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return answer["Error"]["Code"], status, answer["Error"]["Message"]


async def answer_hello(turn: Turn) -> None:
    await turn.open()
    await turn.close()


def invocation(arn: str) -> dict[str, Any]:
    return {
        "harnessArn": arn,
        "runtimeSessionId": "s" * 33,
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
    }


@pytest.mark.wire("harness.status", "endpoint.status")
async def test_a_change_answers_in_transition_and_shows_both_versions(live: Live) -> None:
    arn = await live.harness()
    which = {"harnessId": arn.rpartition("/")[2]}
    live.provisioner.held = True
    changed = (await ask(live.control.update_harness, **which, maxIterations=3))["harness"]
    assert (changed["status"], changed["harnessVersion"]) == ("UPDATING", "2")
    default = await ask(live.control.get_harness_endpoint, **which, endpointName="DEFAULT")
    shown = {name: default["endpoint"][name] for name in ("status", "liveVersion", "targetVersion")}
    assert shown == {"status": "UPDATING", "liveVersion": "1", "targetVersion": "2"}
    for call, members in (
        (live.control.update_harness, {}),
        (live.control.delete_harness, {}),
        (live.control.create_harness_endpoint, {"endpointName": "prod"}),
    ):
        code, status, message = await refused(call, **which, **members)
        assert (code, status) == ("ConflictException", 409) and "UPDATING" in message
    await settle_all(live)
    assert (await ask(live.control.get_harness, **which))["harness"]["status"] == "READY"


async def test_a_repeated_token_starts_what_the_first_call_did_not(live: Live) -> None:
    live.provisioner.held = True
    asked = {
        "harnessName": "agent",
        "executionRoleArn": CONFIG.execution_role_arn,
        "clientToken": TOKEN,
    }
    first = (await ask(live.control.create_harness, **asked))["harness"]
    live.provisioner.held = False
    assert (await ask(live.control.create_harness, **asked))["harness"] == first
    found = await ask(live.control.get_harness, harnessId=first["harnessId"])
    assert found["harness"]["status"] == "READY"


async def test_an_invocation_waits_for_what_is_being_created(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.provisioner.held = True
    arn = await live.harness()
    live.sessions.play = answer_hello
    looked = asyncio.Event()
    look = live.store.harnesses.serving

    async def serving(account: str, harness_id: str, qualifier: str) -> HarnessRecord:
        looked.set()
        return await look(account, harness_id, qualifier)

    monkeypatch.setattr(live.store.harnesses, "serving", serving)
    invoking = asyncio.create_task(live.say(arn))
    await asyncio.wait_for(looked.wait(), 20)
    await settle_all(live)
    assert {"messageStop": {"stopReason": "end_turn"}} in await invoking


async def test_an_invocation_is_throttled_when_creating_takes_too_long(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.references, "CREATING_S", 0.05)
    live.provisioner.held = True
    arn = await live.harness()
    code, status, message = await refused(live.data.invoke_harness, **invocation(arn))
    assert (code, status) == ("ThrottlingException", 429) and "CREATING" in message
    assert live.sessions.brought == []


async def test_nobody_invokes_what_is_being_deleted(live: Live) -> None:
    arn = await live.harness()
    live.provisioner.held = True
    await ask(live.control.delete_harness, harnessId=arn.rpartition("/")[2])
    code, status, message = await refused(live.data.invoke_harness, **invocation(arn))
    assert (code, status) == ("ResourceNotFoundException", 404) and "being deleted" in message
    listed = await ask(live.control.list_harnesses)
    assert [one["status"] for one in listed["harnesses"]] == ["DELETING"]


async def test_a_failure_is_shown_with_its_reason(live: Live) -> None:
    unserved = CONFIG.model_copy(update={"tools": (Tool(type=ToolType.BROWSER, name="web"),)})
    made = await live.store.harnesses.create(
        ACCOUNT, "newer", unserved, client_token=None, params_digest="d"
    )
    await settle_all(live)
    shown = (await ask(live.control.get_harness, harnessId=made.harness_id))["harness"]
    assert shown["status"] == "CREATE_FAILED" and "'web'" in shown["failureReason"]
    default = await ask(
        live.control.get_harness_endpoint, harnessId=made.harness_id, endpointName="DEFAULT"
    )
    assert default["endpoint"]["failureReason"] == shown["failureReason"]
    code, status, message = await refused(live.data.invoke_harness, **invocation(shown["arn"]))
    assert (code, status) == ("ValidationException", 400)
    assert "CREATE_FAILED" in message and "'web'" in message
