"""What an environment costs, of each kind that can run here: start, calls, stop, memory."""

import asyncio
import statistics
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from activities.tools.file_operations import run_file_operation
from activities.tools.outcome import SandboxCall
from bench import engines
from bench.bed import Bed
from bench.engines import Engine
from bench.report import Figure
from contracts.environment import EnvironmentSpec
from contracts.messages import ToolStatus
from environments.environment import Environment
from environments.host import SandboxHost
from store import Store, migrate

#: Of bubblewrap. A container takes what its engine takes.
READY_MS = 150.0
COMMAND_MS = 10.0
STARTS = 10
CALLS = 50
#: Sessions that start at the same time.
TOGETHER = 20
#: What is written to a file and read from it: a source file of ordinary size.
FILE_BYTES = 4096

SPEC = EnvironmentSpec()
#: What a call is, the call, the same without an environment, and the most that it may take.
_Kind = tuple[str, Callable[[], Awaitable[object]], Callable[[], object], float | None]

_TEXT = "x" * (FILE_BYTES - 1) + "\n"


async def measure(bed: Bed) -> list[Figure]:
    """Measure every kind of environment.

    Returns:
        For each kind: ready, command, file write and read, stop, resume, many at once, memory.
    """
    directory = bed.scratch / "environments"
    with engines.bubblewrap(directory / "bubblewrap") as engine:
        figures = await _of(engine, directory / "bubblewrap-host")
    with engines.docker(directory / "docker") as containers:
        if containers is not None:
            figures += await _of(containers, directory / "docker-host")
    return figures


async def _of(engine: Engine, data_dir: Path) -> list[Figure]:
    data_dir.mkdir(parents=True)
    url = f"sqlite:///{data_dir / 'everloop.db'}"
    await asyncio.to_thread(migrate, url)
    store = await Store.open(url)
    try:
        async with SandboxHost(
            store, data_dir=data_dir, host_id="bench", provider=engine.provider
        ) as host:
            figures = [
                *await _life(host, engine),
                *await _calls(host, engine, data_dir),
                *await _together(host, engine),
            ]
            await engine.provider.stop_orphans(())
            return figures
    finally:
        await store.close()


async def _life(host: SandboxHost, engine: Engine) -> list[Figure]:
    """Start, stop and start again; the first of each warms up."""
    ready: list[float] = []
    stopped: list[float] = []
    resumed: list[float] = []
    for _ in range(1 + STARTS):
        session = _session()
        ready.append(await _ms(partial(_use, host, session)))
        stopped.append(await _ms(partial(host.stop, session)))
        resumed.append(await _ms(partial(_use, host, session)))
        await host.delete(session)
    new = statistics.median(ready[1:])
    budget = READY_MS if engine.name == "bubblewrap" else None
    return [
        Figure(f"{engine.name}: from nothing to ready", "ms", new, None, budget),
        Figure(f"{engine.name}: stop, files kept", "ms", statistics.median(stopped[1:])),
        Figure(f"{engine.name}: resume", "ms", statistics.median(resumed[1:]), new, budget),
    ]


async def _calls(host: SandboxHost, engine: Engine, scratch: Path) -> list[Figure]:
    """Commands and file operations in a running environment, beside the same without one."""
    plain = scratch / "plain.txt"
    session = _session()
    async with host.use(session, SPEC) as environment:
        kinds: list[_Kind] = [
            ("command", lambda: _command(environment), _direct, COMMAND_MS),
            (
                f"file of {FILE_BYTES} bytes written",
                lambda: _file(environment, "create", file_text=_TEXT),
                lambda: plain.write_text(_TEXT),
                None,
            ),
            (
                f"file of {FILE_BYTES} bytes read",
                lambda: _file(environment, "view"),
                plain.read_text,
                None,
            ),
        ]
        figures: list[Figure] = []
        for what, call, direct, budget in kinds:
            ours: list[float] = []
            floor: list[float] = []
            for _ in range(CALLS):
                floor.append(_direct_ms(direct))
                ours.append(await _ms(call))
            figures.append(
                Figure(
                    f"{engine.name}: {what}",
                    "ms",
                    statistics.median(ours),
                    statistics.median(floor),
                    budget,
                )
            )
    await host.delete(session)
    return figures


async def _together(host: SandboxHost, engine: Engine) -> list[Figure]:
    """Many sessions that begin in the same moment, beside as many one after the other."""
    one_by_one = 0.0
    for session in [_session() for _ in range(TOGETHER)]:
        one_by_one += await _ms(partial(_first_command, host, session))
        await host.delete(session)
    sessions = [_session() for _ in range(TOGETHER)]
    at_once = await _ms(
        lambda: asyncio.gather(*(_first_command(host, session) for session in sessions))
    )
    memory = [await _memory_mib(host, engine, session) for session in sessions]
    for session in sessions:
        await host.delete(session)
    what = f"{engine.name}: {TOGETHER} sessions at once, to the end of a command in each"
    return [
        Figure(what, "ms", at_once, one_by_one),
        Figure(f"{engine.name}: memory of a session", "MiB", statistics.median(memory)),
    ]


async def _memory_mib(host: SandboxHost, engine: Engine, session: str) -> float:
    async with host.use(session, SPEC) as environment:
        pids = engine.processes(environment.record.reference)
        return engines.private_bytes(pids) / 1024**2


async def _use(host: SandboxHost, session: str) -> None:
    async with host.use(session, SPEC):
        pass


async def _first_command(host: SandboxHost, session: str) -> None:
    async with host.use(session, SPEC) as environment:
        await _command(environment)


async def _command(environment: Environment) -> None:
    await environment.exec(uuid.uuid4().hex, "true", timeout_s=30, output_bytes=1024, variables={})


async def _file(environment: Environment, command: str, **members: str) -> None:
    arguments: dict[str, Any] = {"command": command, "path": f"{SPEC.mount}/file.txt", **members}
    outcome = await run_file_operation(SandboxCall(uuid.uuid4().hex, arguments, environment, SPEC))
    if outcome.status is not ToolStatus.SUCCESS:
        raise RuntimeError(outcome.text)


def _direct() -> None:
    subprocess.run(["/bin/bash", "-c", "true"], check=True)


async def _ms(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return (time.perf_counter() - start) * 1000


def _direct_ms(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _session() -> str:
    return f"bench-{uuid.uuid4()}"
