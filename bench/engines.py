"""The kinds of environment that can be measured here."""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from environments.bubblewrap import Bubblewrap
from environments.docker import Docker
from environments.provider import EnvironmentProvider, Reference
from tests.environments import engine as own_engine


@dataclass(frozen=True)
class Engine:
    """One kind.

    Attributes:
        name: as EVERLOOP_ENGINE has it.
        provider: starts and ends its environments.
    """

    name: str
    provider: EnvironmentProvider

    def processes(self, reference: Reference) -> list[int]:
        """The processes on this machine that an environment consists of, its keepers included."""
        if self.name == "docker":
            return _in_cgroup(str(reference["container"]))
        return _descendants(int(reference["pid"]))


@contextmanager
def bubblewrap(directory: Path) -> Generator[Engine]:
    """Sandboxes of this machine."""
    yield Engine("bubblewrap", Bubblewrap(directory))


@contextmanager
def docker(directory: Path) -> Generator[Engine | None]:
    """Containers of the engine at DOCKER_HOST, else of a podman of our own; None without either."""
    url = os.environ.get("DOCKER_HOST")
    if url is None and own_engine.missing() is not None:
        yield None
        return
    (directory / "engine").mkdir(parents=True)
    own: AbstractContextManager[own_engine.Engine | None]
    own = nullcontext() if url else own_engine.engine(directory)
    with own as running:
        image = os.environ.get("EVERLOOP_IMAGE", "python:3.12-slim")
        if running is not None:
            url, image = running.url, own_engine.IMAGE
        yield Engine("docker", Docker(directory / "data", engine=str(url), image=image))


def private_bytes(pids: list[int]) -> int:
    """Memory that processes share with nobody: what one more of them costs."""
    total = 0
    for pid in pids:
        for line in _read(pid, "status").splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def _in_cgroup(name: str) -> list[int]:
    return [pid for pid in _all() if name in _read(pid, "cgroup")]


def _descendants(root: int) -> list[int]:
    parents = {pid: _parent(pid) for pid in _all()}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _parent(pid: int) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    return 0


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        # It has ended meanwhile.
        return ""
