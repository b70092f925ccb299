"""The endpoint of a sandbox host: who is let in, and what it makes of what it is asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from contracts.commands import HostAddress
from contracts.environment import EnvironmentSpec
from contracts.ids import session_key
from contracts.settings import Settings
from environments.endpoint import HostEndpoint, advertised
from environments.host import SandboxHost
from store import Store

SESSION = session_key("000000000000", "h-0123456789", "s" * 33)


@pytest.fixture
async def endpoint(
    store: Store, host: SandboxHost, database_url: str, tmp_path: Path
) -> AsyncIterator[HostAddress]:
    settings = Settings(database_url, tmp_path / "data", host_id="here")
    async with HostEndpoint(
        store, host, settings, spec_of=lambda _: EnvironmentSpec(), finish_call=no_calls
    ):
        address = await store.hosts.address("here")
        assert address is not None and address.alive
        yield address


@pytest.fixture
async def session(store: Store) -> str:
    await store.hosts.begin_session(
        SESSION, account="000000000000", harness_id="h-0123456789", runtime_session_id="s" * 33
    )
    return SESSION


async def no_calls(session: str, invocation_id: str, id: str) -> None:
    raise AssertionError("nobody asks for a tool call")


async def listed(address: HostAddress, session: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(
            f"{address.url}/files",
            params={"session": session, "mount": "/mnt/s", "path": "."},
            headers={"Authorization": f"Bearer {address.secret}"},
        )


@pytest.mark.parametrize("secret", ["", "wrong", "0" * 64, "\u00e9"])
async def test_only_who_shows_the_secret_is_let_in(endpoint: HostAddress, secret: str) -> None:
    shown = {b"Authorization": f"Bearer {secret}".encode()} if secret else {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for method, path in (("POST", "/commands"), ("GET", "/files"), ("GET", "/nothing")):
            answer = await client.request(method, f"{endpoint.url}{path}", headers=shown)
            assert answer.status_code == 401
    if secret.isascii():
        with pytest.raises(InvalidStatus, match="401"):
            await connect(
                f"{endpoint.url.replace('http', 'ws')}/shell",
                additional_headers={"Authorization": f"Bearer {secret}"},
                proxy=None,
            )


async def test_a_host_that_starts_again_has_another_secret_and_hides_it(
    store: Store, endpoint: HostAddress, host: SandboxHost, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url, tmp_path / "data", host_id="here")
    async with HostEndpoint(
        store, host, settings, spec_of=lambda _: EnvironmentSpec(), finish_call=no_calls
    ):
        later = await store.hosts.address("here")
    assert later is not None and later.secret != endpoint.secret
    assert endpoint.secret not in repr(endpoint)


async def test_sessions_of_other_hosts_and_of_nobody_are_refused(
    endpoint: HostAddress, store: Store, session: str
) -> None:
    unknown = await listed(endpoint, "session:nobody")
    assert (unknown.status_code, unknown.json()["error"]) == (400, "ResourceNotFoundException")
    await store.environments.beat("there", lease_s=60)
    assert await store.environments.assign(session, "there") == "there"
    elsewhere = await listed(endpoint, session)
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (421, "elsewhere")


async def test_files_are_given_by_range_and_only_while_they_are_the_same(
    endpoint: HostAddress, session: str
) -> None:
    async with httpx.AsyncClient(
        base_url=endpoint.url,
        trust_env=False,
        headers={"Authorization": f"Bearer {endpoint.secret}"},
    ) as client:
        asked = {"session": session, "mount": "/mnt/s", "path": "f"}
        await client.put("/files", params=asked, content=b"0123456789")
        whole = await client.get("/files", params=asked)
        assert (whole.status_code, whole.content) == (200, b"0123456789")
        part = await client.get("/files", params=asked, headers={"Range": "bytes=2-4"})
        assert (part.status_code, part.content) == (206, b"234")
        assert part.headers["content-range"] == "bytes 2-4/10"
        await client.put("/files", params=asked, content=b"changed")
        stale = {"Range": "bytes=5-", "If-Match": whole.headers["etag"]}
        changed = await client.get("/files", params=asked, headers=stale)
        assert (changed.status_code, "has changed" in changed.json()["message"]) == (400, True)
        beyond = await client.get("/files", params=asked, headers={"Range": "bytes=20-30"})
        assert beyond.json()["field"] == "Range"
        large = await client.put("/files", params=asked, content=bytes(7 * 1024**2))
        assert large.json()["field"] == "body"


def test_an_address_that_nobody_could_use_is_refused(tmp_path: Path) -> None:
    settings = Settings.from_env({"EVERLOOP_HOST_BIND": "0.0.0.0"})
    with pytest.raises(ValueError, match="EVERLOOP_HOST_ADDRESS"):
        advertised(settings, 7777)
    told = {"EVERLOOP_HOST_BIND": "0.0.0.0", "EVERLOOP_HOST_ADDRESS": "http://10.0.0.7:7777/"}
    assert advertised(Settings.from_env(told), 7777) == "http://10.0.0.7:7777"
    assert advertised(Settings.from_env({}), 7777) == "http://127.0.0.1:7777"
    with pytest.raises(ValueError, match="EVERLOOP_HOST_ADDRESS"):
        Settings.from_env({"EVERLOOP_HOST_ADDRESS": "10.0.0.7:7777"})
