"""Signed requests against a real API process: who is let in, and what the others are told."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from contracts.approvals import Deciders, Terms
from contracts.decisions import Gate
from contracts.settings import Settings
from store import RingSource, Store
from tests.api.conftest import ACCOUNT, ROLE, ApiProcess, client, provisioned_api, start_api
from tests.api.raw import call
from tests.everloop_command import run_everloop
from tests.provisioned import settling
from tests.store.play import Play, sandbox

Key = tuple[str, str]
CONTROL = "bedrock-agentcore-control"


def everloop(data_dir: Path, *words: str) -> str:
    """The standard output of `everloop`, as an operator runs it."""
    env = {**os.environ, "EVERLOOP_DATA_DIR": str(data_dir), "EVERLOOP_ACCOUNT": ACCOUNT}
    done = run_everloop(*words, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_key(data_dir: Path, *options: str) -> Key:
    lines = everloop(data_dir, "keys", "create", *options).split()
    assigned = dict(word.split("=", 1) for word in lines if "=" in word)
    return assigned["AWS_ACCESS_KEY_ID"], assigned["AWS_SECRET_ACCESS_KEY"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module")
def key(data_dir: Path) -> Key:
    return make_key(data_dir, "--label", "tests")


@pytest.fixture(scope="module")
def api(data_dir: Path, key: Key, temporal_address: str) -> Iterator[ApiProcess]:
    """Listens on every address, so that it lets in only who signs."""
    with provisioned_api(data_dir, temporal_address, EVERLOOP_API_HOST="0.0.0.0") as running:
        yield running
        status, out, err = running.stop()
    assert status == 0
    assert key[1] not in out + err


def error_of(ask: Any) -> tuple[str, int, str]:
    """AWS's name, the HTTP status and the message that boto3 raises."""
    with pytest.raises(ClientError) as caught:
        ask()
    answer = cast("Any", caught.value).response
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return str(answer["Error"]["Code"]), int(status), str(answer["Error"]["Message"])


def listing(api: ApiProcess, key: Key, token: str | None = None) -> Any:
    """A call that lists harnesses as the owner of a key."""

    def ask() -> Any:
        made = client(CONTROL, api.url, key, token)
        try:
            return made.list_harnesses()
        finally:
            made.close()

    return ask


@pytest.mark.wire("auth.sigv4")
def test_a_signed_lifecycle_works(api: ApiProcess, key: Key) -> None:
    control = settling(client(CONTROL, api.url, key))
    made = control.create_harness(harnessName="mine", executionRoleArn=ROLE)["harness"]
    control.get_harness(harnessId=made["harnessId"])
    assert [h["harnessName"] for h in control.list_harnesses(maxResults=5)["harnesses"]] == ["mine"]
    data = client("bedrock-agentcore", api.url, key)
    absent = made["arn"][:-10] + "0123456789"
    told = error_of(
        lambda: data.invoke_harness(
            harnessArn=absent,
            runtimeSessionId="s" * 33,
            messages=[{"role": "user", "content": [{"text": "Hä? + & ="}]}],
        )
    )
    assert told[:2] == ("ResourceNotFoundException", 404)
    control.delete_harness(harnessId=made["harnessId"])
    control.close()
    data.close()


def test_health_needs_no_signature(api: ApiProcess) -> None:
    assert call(api.port, "GET", "/ping").status == 200


@pytest.mark.wire("auth.sigv4")
def test_a_request_without_a_signature_is_refused(api: ApiProcess) -> None:
    answer = call(api.port, "GET", "/harnesses")
    assert (answer.status, answer.error) == (403, "MissingAuthenticationTokenException")
    answer = call(api.port, "GET", "/harnesses", headers={"authorization": "Bearer x"})
    assert (answer.status, answer.error) == (403, "IncompleteSignatureException")
    answer = call(api.port, "GET", "/no/such/path")
    assert (answer.status, answer.error) == (403, "MissingAuthenticationTokenException")


def test_a_stranger_cannot_make_the_server_read_a_body(api: ApiProcess) -> None:
    answer = call(api.port, "POST", "/harnesses", b"{" * 7 * 1024 * 1024)
    assert (answer.status, answer.error) == (403, "MissingAuthenticationTokenException")


@pytest.mark.wire("auth.sigv4", "auth.sessions")
def test_a_wrong_secret_an_unknown_key_and_a_session_token_are_refused(
    api: ApiProcess, key: Key
) -> None:
    wrong = error_of(listing(api, (key[0], "x" * 40)))
    assert wrong[:2] == ("InvalidSignatureException", 403)
    unknown = error_of(listing(api, ("EVLP" + "A" * 16, key[1])))
    assert unknown[:2] == ("UnrecognizedClientException", 403)
    assert error_of(listing(api, key, "a-token"))[:2] == ("UnrecognizedClientException", 403)


def test_a_tampered_request_is_refused(api: ApiProcess, key: Key) -> None:
    for change in ("body", "query", "header", "path"):
        control = client(CONTROL, api.url, key)

        def tamper(request: Any, change: str = change, **_: Any) -> None:
            if change == "body":
                request.body = request.body.replace(b"honest", b"forged")
            elif change == "query":
                request.url += "?surprise=1"
            elif change == "path":
                request.url += "/invoke"
            else:
                request.headers["X-Amzn-Bedrock-AgentCore-Runtime-User-Id"] = "root"

        control.meta.events.register("before-send.bedrock-agentcore-control", tamper)
        told = error_of(
            lambda control=control: control.create_harness(
                harnessName="honest", executionRoleArn=ROLE
            )
        )
        control.close()
        assert told[:2] == ("InvalidSignatureException", 403), change
    assert listing(api, key)()["harnesses"] == []


def test_an_old_request_is_refused(api: ApiProcess, key: Key) -> None:
    control = client(CONTROL, api.url, key)
    old = datetime.now(UTC) - timedelta(minutes=16)
    patch = pytest.MonkeyPatch()
    patch.setattr("botocore.auth.get_current_datetime", lambda: old.replace(tzinfo=None))
    told = error_of(control.list_harnesses)
    patch.undo()
    control.close()
    assert told[:2] == ("InvalidSignatureException", 403)
    assert "Signature expired" in told[2]


@pytest.mark.wire("auth.accounts")
def test_another_accounts_key_is_refused(api: ApiProcess, data_dir: Path) -> None:
    theirs = make_key(data_dir, "--account", "111122223333")
    told = error_of(listing(api, theirs))
    assert told[:2] == ("AccessDeniedException", 403)
    assert "111122223333" in told[2]
    forged = error_of(listing(api, (theirs[0], "x" * 40)))
    assert forged[0] == "InvalidSignatureException", "whose key it is, only its owner may learn"


def test_another_accounts_harness_is_refused(api: ApiProcess, key: Key) -> None:
    data = client("bedrock-agentcore", api.url, key)
    arn = "arn:aws:bedrock-agentcore:us-east-1:111122223333:harness/theirs-0123456789"
    told = error_of(
        lambda: data.invoke_harness(
            harnessArn=arn,
            runtimeSessionId="s" * 33,
            messages=[{"role": "user", "content": [{"text": "hi"}]}],
        )
    )
    data.close()
    assert told[:2] == ("AccessDeniedException", 403)


def test_an_expired_key_is_refused(api: ApiProcess, data_dir: Path) -> None:
    async def make() -> Key:
        settings = Settings(f"sqlite:///{data_dir / 'everloop.db'}", data_dir)
        store = await Store.open(settings.database_url, RingSource.of(settings))
        past = datetime.now(UTC) - timedelta(seconds=1)
        made = await store.access_keys.create(ACCOUNT, "old", expires_at=past)
        await store.close()
        return made.record.access_key_id, made.secret

    told = error_of(listing(api, asyncio.run(make())))
    assert told[:2] == ("ExpiredTokenException", 403)


def test_a_deleted_key_is_soon_refused(api: ApiProcess, data_dir: Path) -> None:
    brief = make_key(data_dir, "--expires-in-days", "1")
    listing(api, brief)()
    assert brief[0] in everloop(data_dir, "keys", "list")
    assert brief[1] not in everloop(data_dir, "keys", "list")
    everloop(data_dir, "keys", "delete", brief[0])
    assert brief[0] not in everloop(data_dir, "keys", "list")
    deadline = datetime.now(UTC) + timedelta(seconds=15)
    while True:
        try:
            listing(api, brief)()
        except ClientError as error:
            assert "UnrecognizedClientException" in str(error)
            return
        assert datetime.now(UTC) < deadline


def test_the_command_signs_with_the_key_of_its_environment(
    api: ApiProcess, data_dir: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key[1])
    shown = everloop(data_dir, "list", "--json", "--endpoint-url", api.url)
    assert '"harnesses"' in shown


def test_loopback_verifies_when_told_to(tmp_path: Path) -> None:
    key = make_key(tmp_path)
    running = start_api(tmp_path, EVERLOOP_SIGNATURES="verified")
    assert call(running.port, "GET", "/harnesses").status == 403
    assert listing(running, key)()["harnesses"] == []
    _, _, err = running.stop()
    assert "any signature is accepted" not in err


def test_development_says_that_it_accepts_any_signature(tmp_path: Path) -> None:
    running = start_api(tmp_path)
    assert listing(running, ("any", "any"))()["harnesses"] == []
    _, _, err = running.stop()
    assert "any signature is accepted: the API serves this machine only" in err


def test_a_key_that_does_not_open_is_unknown_to_its_caller_and_named_to_the_operator(
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path)
    (tmp_path / "keyring.json").unlink()
    other = make_key(tmp_path)
    running = start_api(tmp_path, EVERLOOP_SIGNATURES="verified")
    try:
        unknown = error_of(listing(running, ("EVLP" + "A" * 16, key[1])))
        for _ in range(3):
            assert error_of(listing(running, key)) == unknown
        assert listing(running, other)()["harnesses"] == []
    finally:
        status, out, err = running.stop()
    assert status == 0
    (line,) = [line for line in err.splitlines() if key[0] in line]
    assert "ERROR" in line and "the key ring has no key" in line
    assert "everloop keys create" in line
    assert key[1] not in out + err


def own(api: ApiProcess, key: Key, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    """A signed GET of one of our own paths: status and JSON."""
    request: Any = AWSRequest("GET", f"{api.url}/everloop/v1/{path}", headers=headers)
    signer: Any = SigV4Auth(Credentials(*key), "bedrock-agentcore", "us-east-1")
    signer.add_auth(request)
    session: Any = URLLib3Session()
    try:
        answer = session.send(request.prepare())
        return answer.status_code, json.loads(answer.content)
    finally:
        session.close()


async def ask_ada(data_dir: Path) -> None:
    """A call that waits for ada, or for somebody with the role finance."""
    store = await Store.open(f"sqlite:///{data_dir / 'everloop.db'}")
    try:
        play = await Play.begin(store)
        deciders = Deciders(users=("ada",), roles=("finance",))
        gate = Gate(terms=Terms(deciders=deciders))
        await play.ask_person("i1", replace(sandbox("risky"), gate=gate))
    finally:
        await store.close()


def test_a_key_decides_as_its_user_with_its_roles_and_as_nobody_else(
    api: ApiProcess, key: Key, data_dir: Path
) -> None:
    asyncio.run(ask_ada(data_dir))
    ada = make_key(data_dir, "--user", "ada")
    clerk = make_key(data_dir, "--role", "finance", "--role", "ops")
    for who, seen in ((ada, 1), (clerk, 1), (key, 0)):
        status, told = own(api, who, "decisions?mine=true", {})
        assert (status, len(told["decisions"])) == (200, seen)
    for headers in ({"x-everloop-user": "ada"}, {"x-everloop-roles": "finance"}):
        status, told = own(api, key, "decisions?mine=true", headers)
        assert status == 403 and key[0] in told["message"]
    assert "as ada" in everloop(data_dir, "keys", "list")
    assert "(finance, ops)" in everloop(data_dir, "keys", "list")


def test_no_page_lets_its_form_say_who_decides_where_keys_do(api: ApiProcess, key: Key) -> None:
    page = {"accept": "text/html"}
    for path in ("decisions?user=ada", "decisions/dec-any"):
        status, told = own(api, key, path, page)
        assert status == 403 and "application/json" in told["message"]
    assert call(api.port, "GET", "/everloop/v1/decisions", headers=page).status == 403


async def test_a_websocket_is_let_in_by_the_same_signature(api: ApiProcess, key: Key) -> None:
    path = f"/everloop/v1/harnesses/gone-0123456789/sessions/{'s' * 33}/shell"
    url = f"http://127.0.0.1:{api.port}{path}?columns=80"
    request = cast("Any", AWSRequest("GET", url))
    signer = cast("Any", SigV4Auth)(Credentials(*key), "bedrock-agentcore", "us-east-1")
    signer.add_auth(request)
    signed = {name: str(value) for name, value in request.headers.items()}

    async def refusal(headers: dict[str, str], address: str = url) -> tuple[int, bytes]:
        with pytest.raises(InvalidStatus) as refused:
            await connect(address.replace("http", "ws", 1), additional_headers=headers, proxy=None)
        return refused.value.response.status_code, bytes(refused.value.response.body or b"")

    status, told = await refusal(signed)
    assert (status, b"Harness gone-0123456789 does not exist" in told) == (404, True)
    assert (await refusal({}))[0] == 403
    assert (await refusal(signed, url.replace("columns=80", "columns=81")))[0] == 403
    assert (await refusal(signed, f"http://127.0.0.1:{api.port}/everloop/v1/nothing"))[0] == 403
