"""Start `everloop dev` as a process of its own and wait until it is ready."""

import os
import signal
import subprocess
import sys
import time

from everloop.dev import exec_with_parent, logs
from everloop.dev.errors import AlreadyRunning, DevError
from everloop.dev.layout import DataDir
from everloop.dev.state import DevState, Phase, running

SUPERVISOR = "dev"
#: Seconds until a supervisor must be ready: its own limits end it long before.
READY_S = 180.0
#: Seconds until one that was told to stop is gone: the sum of its processes' limits, with room.
STOP_S = 60.0
POLL_S = 0.05


def start(data: DataDir, *, api_port: int | None, region: str, outlive: bool) -> DevState:
    """Start a supervisor and return its state once everything serves.

    Args:
        data: its data directory.
        api_port: as for `everloop dev --port`.
        region: the region in ARNs.
        outlive: whether it goes on after this process has ended.

    Raises:
        AlreadyRunning: one runs there.
        DevError: it could not be started; the message carries its last words.
    """
    data.create()
    already = running(data)
    if already is not None:
        raise AlreadyRunning(str(data.root), already.pid)
    command = [sys.executable, "-P", "-m", "everloop.cli", "dev", "--data-dir", str(data.root)]
    command += ["--region", region]
    if api_port is not None:
        command += ["--port", str(api_port)]
    if not outlive:
        wrapper = [sys.executable, "-I", "-S", exec_with_parent.__file__]
        command = [*wrapper, str(os.getpid()), str(int(signal.SIGTERM)), *command]
    log = data.log(SUPERVISOR)
    logs.rotate(log)
    began = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            said = "\n".join(logs.tail(log, since=began))
            raise DevError(f"everloop dev ended with exit code {code}:\n{said}")
        state = running(data)
        if state is not None and state.pid == process.pid and state.phase is Phase.READY:
            return state
        time.sleep(POLL_S)
    os.kill(process.pid, signal.SIGTERM)
    raise DevError(f"everloop dev was not ready within {READY_S:g} s; see {log}")


def stop(data: DataDir) -> None:
    """Tell the supervisor of a data directory to stop, and wait until it has.

    Raises:
        DevError: it is still there after a minute.
    """
    state = running(data)
    if state is None or state.pid is None:
        return
    os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if running(data) is None:
            return
        time.sleep(POLL_S)
    raise DevError(f"everloop dev (pid {state.pid}) did not stop within {STOP_S:g} s")
