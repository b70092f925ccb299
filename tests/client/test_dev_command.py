"""`everloop dev` as a process: a real Temporal server, small stand-ins for our own rooms."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

#: Modules by path; found through PYTHONPATH before the installed ones.
STAND_INS = {
    "store/__init__.py": "",
    "store/migrate.py": "print('migrated')",
    "activities/__init__.py": "",
    "activities/model/__init__.py": "",
    "activities/model/demo/__init__.py": "",
    "activities/model/demo/__main__.py": """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
while True:
    time.sleep(60)
""",
    "api/__init__.py": "",
    "api/__main__.py": """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ping" else 404)
        self.end_headers()
address = os.environ["EVERLOOP_API_HOST"], int(os.environ["EVERLOOP_API_PORT"])
HTTPServer(address, Handler).serve_forever()
""",
    "worker.py": """
import json, os, pathlib, sys, time
if "EVERLOOP_TEST_BROKEN" in os.environ.get("TESTING", ""):
    sys.exit("the worker is broken")
name = sys.argv[1] if len(sys.argv) > 1 else "worker"
path = pathlib.Path(os.environ["EVERLOOP_DATA_DIR"], "run", name + ".json")
fresh = path.with_suffix(".new")
fresh.write_text(json.dumps({"pid": os.getpid()}))
fresh.replace(path)
while True:
    time.sleep(60)
""",
}


class Dev:
    """Runs the command and keeps its output."""

    def __init__(self, command: tuple[str, ...], env: dict[str, str], root: Path) -> None:
        self.command = command
        self.env = env
        self.data = root / ".everloop"
        self.root = root
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.root / "output").open("ab") as output:
            process = subprocess.Popen(
                [*self.command, "dev", "--port", "0", *words],
                env=self.env | env,
                cwd=self.root,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        return process

    @property
    def output(self) -> str:
        return (self.root / "output").read_text()

    def state(self) -> dict[str, Any]:
        path = self.data / "dev.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def process(self, name: str) -> dict[str, Any]:
        return next(one for one in self.state()["processes"] if one["name"] == name)

    def pids(self) -> list[int]:
        return [one["pid"] for one in self.state()["processes"] if one["pid"]]

    def is_ready(self) -> bool:
        return self.state().get("phase") == "ready" and self.state()["pid"] in {
            process.pid for process in self.running
        }


@pytest.fixture
def dev(everloop: tuple[str, ...], cli_env: dict[str, str], tmp_path: Path) -> Iterator[Dev]:
    modules = tmp_path / "modules"
    for name, text in STAND_INS.items():
        path = modules / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = Dev(everloop, cli_env | {"PYTHONPATH": str(modules)}, tmp_path)
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_starts_serves_restarts_and_stops(dev: Dev, until: Callable[..., None]) -> None:
    process = dev.start()
    until(dev.is_ready, "readiness")
    names = ["temporal", "demo-model", "sandbox-host", "worker", "api"]
    assert [one["name"] for one in dev.state()["processes"]] == names
    until(lambda: "ready · API http://127.0.0.1:" in dev.output, "the ready line")
    for name in names:
        assert f"✓ {name}" in dev.output

    worker = dev.process("worker")["pid"]
    os.kill(worker, signal.SIGKILL)
    until(lambda: dev.process("worker")["restarts"] == 1, "the restart")
    until(lambda: dev.process("worker")["phase"] == "ready", "the new worker")
    assert dev.process("worker")["pid"] != worker
    until(lambda: "signal 9 (SIGKILL)" in dev.output, "the message")

    pids, ports = dev.pids(), dev.state()["ports"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert not any(lives(pid) for pid in pids)
    assert dev.state()["phase"] == "stopped" and dev.state()["pid"] is None

    again = dev.start()
    until(dev.is_ready, "readiness again")
    assert dev.state()["ports"] == ports
    again.send_signal(signal.SIGINT)
    assert again.wait(timeout=60) == 0


def test_a_killed_supervisor_leaves_nothing_in_the_way_of_the_next(
    dev: Dev, until: Callable[..., None]
) -> None:
    process = dev.start()
    until(dev.is_ready, "readiness")
    pids, ports = dev.pids(), dev.state()["ports"]
    process.kill()
    process.wait()
    until(lambda: not any(lives(pid) for pid in pids), "the end of the children")
    dev.start()
    until(dev.is_ready, "readiness of the next")
    assert dev.state()["ports"] == ports


def test_a_process_that_never_starts_fails_the_command_with_its_log(dev: Dev) -> None:
    process = dev.start(TESTING="EVERLOOP_TEST_BROKEN")
    assert process.wait(timeout=60) == 1
    assert "| the worker is broken" in dev.output
    assert dev.state()["phase"] == "failed" and not dev.pids()


def test_detached_it_outlives_the_command(dev: Dev, until: Callable[..., None]) -> None:
    process = dev.start("--detach")
    assert process.wait(timeout=60) == 0, dev.output
    supervisor: int = dev.state()["pid"]
    assert lives(supervisor) and dev.state()["phase"] == "ready"
    assert f"kill {supervisor}" in dev.output
    os.kill(supervisor, signal.SIGTERM)
    until(lambda: dev.state()["phase"] == "stopped", "the stop")
