"""A harness's extensions over HTTP: versioned, kept by updates, never without in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from store import migrate
from tests.api.live import Live, live_server
from tests.api.raw import RawAnswer, call

ROLE = "arn:aws:iam::000000000000:role/agent"


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    database = tmp_path / "everloop.db"
    await asyncio.to_thread(migrate, f"sqlite:///{database}")
    async with live_server(database, tmp_path) as server:
        yield server


EXTENSIONS_HEADER = "x-everloop-extensions"


async def send(live: Live, method: str, path: str, body: Any = None, **headers: str) -> RawAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await asyncio.to_thread(call, live.port, method, path, body, named)


async def create(live: Live, extensions: str) -> RawAnswer:
    body = {"harnessName": "agent", "executionRoleArn": ROLE}
    return await send(live, "POST", "/harnesses", body, x_everloop_extensions=extensions)


async def test_extensions_make_a_version_and_an_update_keeps_them(live: Live):
    created = await create(live, "{}")
    assert created.status in (200, 201, 202)
    assert "extensions" not in created.json["harness"]
    harness_id = created.json["harness"]["harnessId"]
    path = f"/everloop/v1/harnesses/{harness_id}/extensions"
    dry = await send(live, "PUT", f"{path}?dryRun=true", {})
    assert (dry.status, dry.json["harnessVersion"]) == (200, "1")
    put = await send(live, "PUT", path, {}, x_everloop_client_token="t" * 33)
    assert (put.status, put.json["harnessVersion"]) == (200, "2")
    again = await send(live, "PUT", path, {}, x_everloop_client_token="t" * 33)
    assert again.json["harnessVersion"] == "2"
    assert (await send(live, "GET", path)).json["extensions"] == put.json["extensions"]
    first = await send(live, "GET", f"{path}?harnessVersion=1")
    assert first.json["harnessVersion"] == "1"


@pytest.mark.parametrize("given", ['{"surprise": 1}', "[]", "{"])
async def test_a_harness_with_unknown_extensions_is_not_made(live: Live, given: str):
    refused = await create(live, given)
    assert (refused.status, refused.error) == (400, "ValidationException")
    assert EXTENSIONS_HEADER in refused.json["message"]
    assert (await create(live, "{}")).status in (200, 201, 202)


async def test_a_wrong_member_is_named(live: Live):
    arn = await live.harness()
    path = f"/everloop/v1/harnesses/{arn.rpartition('/')[2]}/extensions"
    refused = await send(live, "PUT", path, {"surprise": 1})
    assert (refused.status, refused.fields) == (400, ["surprise"])


async def test_egress_comes_back_and_a_list_that_means_nothing_is_refused(live: Live):
    created = await create(live, "{}")
    path = f"/everloop/v1/harnesses/{created.json['harness']['harnessId']}/extensions"
    arn = (
        "arn:aws:bedrock-agentcore:us-east-1:000000000000"
        ":token-vault/default/apikeycredentialprovider/k"
    )
    egress = {
        "mode": "allow",
        "hosts": ["api.example.com", "*.example.org"],
        "ports": [443],
        "credentials": [
            {
                "host": "api.example.com",
                "header": "authorization",
                "apiKeyArn": arn,
                "prefix": "Bearer ",
            }
        ],
    }
    put = await send(live, "PUT", path, {"egress": egress})
    assert (put.status, put.json["extensions"]["egress"]) == (200, egress)
    bad = await send(live, "PUT", path, {"egress": {"mode": "allow", "hosts": ["https://a.com"]}})
    assert (bad.status, bad.error, bad.fields) == (400, "ValidationException", ["egress.hosts"])
