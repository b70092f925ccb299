"""`python -m api` as a supervisor sees it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from api.digest import request_digest
from contracts.harness import HarnessConfig, RunConfig
from contracts.ids import session_key
from contracts.messages import Message, TextBlock
from store import Store, migrate
from tests.api.conftest import ACCOUNT, ROLE, client, start_api
from tests.api.raw import call
from tests.provisioned import settle

SESSION = "x-amzn-bedrock-agentcore-runtime-session-id"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
SECRET = "do-not-log-me"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens while the test holds it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_says_where_it_listens_and_ends_on_sigterm(tmp_path: Path):
    running = start_api(tmp_path)
    ping = call(running.port, "GET", "/ping")
    assert (ping.status, ping.json) == (200, {"status": "Healthy"})
    status, out, _ = running.stop()
    assert status == 0
    assert out == f"Everloop API listens on http://127.0.0.1:{running.port}\n"


def test_listens_on_ipv6_loopback(tmp_path: Path):
    running = start_api(tmp_path, EVERLOOP_API_HOST="::1")
    _, out, _ = running.stop()
    assert out == f"Everloop API listens on http://[::1]:{running.port}\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.com"])
@pytest.mark.parametrize(
    ("signatures", "why"),
    [({}, "everloop keys create"), ({"EVERLOOP_SIGNATURES": "any"}, "loopback address only")],
)
def test_listens_beyond_this_machine_only_for_somebody_who_signs(
    tmp_path: Path, host: str, signatures: dict[str, str], why: str
):
    migrate(f"sqlite:///{tmp_path / 'everloop.db'}")
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env={
            **os.environ,
            "EVERLOOP_DATA_DIR": str(tmp_path),
            "EVERLOOP_API_HOST": host,
            **signatures,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert host in done.stderr and why in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_process_is_light_and_never_loads_the_model_gateway(tmp_path: Path):
    running = start_api(tmp_path)
    client("bedrock-agentcore-control", running.url).create_harness(
        harnessName="a", executionRoleArn=ROLE
    )
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    resident_kib = int(status.partition("VmHWM:")[2].split()[0])
    running.stop()
    assert resident_kib < 150 * 1024
    code = "import sys, api.__main__; print([m for m in sys.modules if 'litellm' in m])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_logs_requests_without_what_they_say(tmp_path: Path, closed_port: int):
    running = start_api(tmp_path, EVERLOOP_TEMPORAL_ADDRESS=f"127.0.0.1:{closed_port}")
    call(running.port, "POST", f"/harnesses?{SECRET}=1", {"harnessName": SECRET})
    answer = call(
        running.port,
        "POST",
        "/harnesses",
        {"harnessName": "a", "executionRoleArn": ROLE, "systemPrompt": [{"text": SECRET}]},
        {"authorization": SECRET},
    )
    _, _, err = running.stop()
    assert "POST CreateHarness 201" in err
    assert answer.headers["x-amzn-requestid"] in err
    assert SECRET not in err


def test_without_temporal_an_invocation_fails_safely(tmp_path: Path, closed_port: int):
    running = start_api(tmp_path, EVERLOOP_TEMPORAL_ADDRESS=f"127.0.0.1:{closed_port}")
    control = client("bedrock-agentcore-control", running.url)
    made = control.create_harness(harnessName="a", executionRoleArn=ROLE)["harness"]
    assert made["status"] == "CREATING"
    control.close()
    asyncio.run(settle_all(tmp_path))
    arn = made["arn"]
    body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    path = f"/harnesses/invoke?harnessArn={quote(arn, safe='')}"
    started = time.monotonic()
    answer = call(running.port, "POST", path, body, {SESSION: "s" * 33})
    running.stop()
    assert (answer.status, answer.error) == (500, "InternalServerException")
    assert "Temporal is unavailable" in answer.json["message"]
    assert time.monotonic() - started < 30


async def settle_all(data_dir: Path) -> None:
    """Bring every change to its end, as workflows would."""
    store = await Store.open(f"sqlite:///{data_dir / 'everloop.db'}")
    for operation in await store.provisioning.under_way():
        await settle(store, operation)
    await store.close()


async def test_open_streams_are_cut_when_the_process_ends(tmp_path: Path):
    running = await asyncio.to_thread(start_api, tmp_path)
    control = client("bedrock-agentcore-control", running.url)
    made = await asyncio.to_thread(control.create_harness, harnessName="a", executionRoleArn=ROLE)
    control.close()
    arn, session_id = made["harness"]["arn"], "s" * 33
    await open_turn(tmp_path, arn, session_id)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as stream:
        body = json.dumps({"messages": HELLO})
        head = (
            f"POST /harnesses/invoke?harnessArn={quote(arn, safe='')} HTTP/1.1\r\n"
            f"host: localhost\r\n{SESSION}: {session_id}\r\nx-everloop-invocation-id: turn\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}"
        )
        stream.sendall(head.encode())
        assert stream.recv(17) == b"HTTP/1.1 200 OK\r\n"
        status, _, _ = await asyncio.to_thread(running.stop)
        assert status == 0
        rest = b"".join(iter(lambda: stream.recv(4096), b""))
    assert not rest.endswith(b"0\r\n\r\n"), "a stream that is cut must not look complete"


async def open_turn(data_dir: Path, arn: str, session_id: str) -> None:
    """Have an invocation run, as far as the store knows."""
    harness_id = arn.rpartition("/")[2]
    session = session_key(ACCOUNT, harness_id, session_id)
    asked = {"harnessArn": arn, "runtimeSessionId": session_id, "messages": HELLO}
    store = await Store.open(f"sqlite:///{data_dir / 'everloop.db'}")
    config = RunConfig(
        harness_arn=arn,
        harness_name="a",
        harness_version="1",
        actor_id="default",
        config=HarnessConfig(execution_role_arn=ROLE),
    )
    await store.turns.admit(
        session=session,
        account=ACCOUNT,
        harness_id=harness_id,
        runtime_session_id=session_id,
        invocation_id="turn",
        request_digest=request_digest(asked),
        config_digest=await store.configs.put(config),
        messages=(Message(role="user", blocks=(TextBlock(text="Hello"),)),),
    )
    await store.turns.open(session, "turn")
    await store.close()


def test_a_database_that_breaks_is_an_opaque_error(tmp_path: Path):
    running = start_api(tmp_path)
    for path in tmp_path.glob("everloop.db*"):
        path.write_bytes(b"broken" * 1000)
    answer = call(running.port, "GET", "/harnesses")
    _, _, err = running.stop()
    assert (answer.status, answer.error) == (500, "InternalServerException")
    error_id = answer.json["message"].rpartition(" ")[2].rstrip(".")
    assert f"unexpected error {error_id}: sqlalchemy" in err
    assert "SELECT" not in answer.json["message"]
    assert ACCOUNT not in err.partition(error_id)[2].partition("INFO")[0]
