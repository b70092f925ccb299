"""A real container engine for tests, and an image that needs no registry.

The engine is podman behind its Docker-compatible socket, with a storage of its own that is removed
afterwards. The image is made of the files of this machine's own packages. Making it takes longer
than most tests, so the processes of a run share one engine.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

IMAGE = "localhost/everloop-test:latest"
_PACKAGES = (
    *("base-files", "bash", "coreutils", "dash", "findutils", "grep", "sed", "tar", "procps"),
    *("util-linux", "libc-bin", "python3", "python3-minimal", "libpython3-stdlib"),
)
_NO_EXTRAS = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
#: Half of it, which no test asks for.
_LEFT_OUT = (
    *("/share/doc", "/share/man", "/share/locale", "/share/info", "__pycache__"),
    *("/perl", "/libperl", "/gconv/", "/pydoc_data", "/lib2to3", "/idlelib", "/ensurepip"),
)
_DIRECTORIES = ("usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "tmp", "proc", "dev")
_MORE_DIRECTORIES = ("sys", "run", "mnt", "opt", "var", "root", "home")
#: The service makes its socket within a second.
START_S = 20.0
END_S = 10.0


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes:
        url: of its socket.
        podman: the command line that speaks with its storage.
    """

    url: str
    podman: tuple[str, ...]

    def tag(self, name: str) -> None:
        """Give the image another name."""
        self._run("tag", IMAGE, name)

    def add_without_programs(self, name: str) -> None:
        """Add an image that has no programs at all."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(file.name, "w") as archive:
                archive.addfile(tarfile.TarInfo("nothing"))
            self._run("import", "-q", file.name, name)

    def image_of(self, container: str) -> str:
        """The name of the image that a container runs."""
        return self._run("inspect", "-f", "{{.ImageName}}", container).strip()

    def _run(self, *words: str) -> str:
        done = subprocess.run([*self.podman, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def missing() -> str | None:
    """Why no engine can be had here; None when one can."""
    if os.geteuid() != 0:
        return "a container engine of its own needs root"
    absent = [name for name in ("podman", "runc", "dpkg") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}: apt-get install podman runc" if absent else None


@contextlib.contextmanager
def engine(run: Path) -> Generator[Engine]:
    """The engine of all processes that test in a directory: the first starts it, the last ends it.

    Who uses it is said by locks, which a process that is killed gives back too.

    Args:
        run: the directory.
    """
    note = run / "engine.json"
    with _locked(run / "engine.lock") as change, open(run / "engine.users", "a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        if not note.exists():
            note.write_text(json.dumps(_start()))
        directory, service = json.loads(note.read_text())
        fcntl.flock(change, fcntl.LOCK_UN)
        try:
            yield Engine(f"unix://{directory}/s", _podman(directory))
        finally:
            fcntl.flock(change, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_UN)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note.unlink()
                _end(directory, service)


@contextlib.contextmanager
def _locked(path: Path) -> Generator[IO[str]]:
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _podman(directory: str) -> tuple[str, ...]:
    return (
        *("podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run"),
        *("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
    )


def _start() -> tuple[str, int]:
    """Start an engine that has `IMAGE`; its directory, and the id of its process."""
    # podman takes no run directory whose path has more than 50 characters.
    directory = tempfile.mkdtemp(prefix="engine-", dir="/tmp")
    try:
        return directory, _serve(directory)
    except BaseException:
        shutil.rmtree(directory)
        raise


def _serve(directory: str) -> int:
    podman, tree = _podman(directory), Path(directory, "image.tar")
    _write_image(tree)
    subprocess.run([*podman, "import", "-q", str(tree), IMAGE], check=True, capture_output=True)
    tree.unlink()
    # It outlives the test process that started it, and is no child that somebody must wait for.
    service = subprocess.run(
        [
            *("sh", "-c", '"$@" >log 2>&1 </dev/null & echo $!', "sh"),
            *(*podman, "system", "service", "--time=0", f"unix://{directory}/s"),
        ],
        check=True,
        stdout=subprocess.PIPE,
        # conmon leaves files where it was started.
        cwd=directory,
        start_new_session=True,
    )
    deadline = time.monotonic() + START_S
    while not Path(directory, "s").exists():
        assert time.monotonic() < deadline, Path(directory, "log").read_text()
        time.sleep(0.02)
    return int(service.stdout)


def _end(directory: str, service: int) -> None:
    podman = _podman(directory)
    subprocess.run([*podman, "rm", "-af", "-t", "0"], check=True, stdout=subprocess.DEVNULL)
    process = os.pidfd_open(service)
    signal.pidfd_send_signal(process, signal.SIGTERM)
    assert select.select([process], [], [], END_S)[0], "the engine does not end"
    os.close(process)
    shutil.rmtree(directory)


def _write_image(path: Path) -> None:
    command = ["apt-cache", "depends", "--recurse", *(f"--no-{each}" for each in _NO_EXTRAS)]
    told = subprocess.run([*command, *_PACKAGES], check=True, capture_output=True, text=True)
    packages = sorted({line for line in told.stdout.splitlines() if line[:1].isalnum()})
    # Alternatives of a dependency may not be installed: dpkg says so and lists the others.
    listed = subprocess.run(["dpkg", "-L", *packages], capture_output=True, text=True)
    with tarfile.open(path, "w") as archive:
        seen: set[str] = set()
        for name in (*_DIRECTORIES, *_MORE_DIRECTORIES):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
            seen.add(f"/{name}")
        for name in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(entry)
            seen.add(f"/{name}")
        for line in listed.stdout.splitlines():
            real = os.path.join(os.path.realpath(os.path.dirname(line)), os.path.basename(line))
            if real in seen or not os.path.lexists(real) or any(part in real for part in _LEFT_OUT):
                continue
            seen.add(real)
            archive.add(real, arcname=real.lstrip("/"), recursive=False)
            # Packages do not list it, and without it each Python program compiles what it imports.
            path = Path(real)
            for compiled in path.parent.glob(f"__pycache__/{path.stem}.cpython-*.pyc"):
                archive.add(compiled, arcname=str(compiled).lstrip("/"), recursive=False)
