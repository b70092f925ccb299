"""What an environment costs: from nothing to ready, and a command in a running one."""

import asyncio
import statistics
import subprocess
import time
import uuid
from pathlib import Path

from bench.report import Figure
from contracts.environment import EnvironmentSpec
from environments.host import SandboxHost
from store import Store, migrate

READY_MS = 150.0
COMMAND_MS = 10.0
STARTS = 10
COMMANDS = 50


async def measure(data_dir: Path) -> list[Figure]:
    """Start environments and run `true` in one.

    Args:
        data_dir: an empty directory to work in.

    Returns:
        The median start and the median command, beside the same program started directly.
    """
    data_dir.mkdir(parents=True)
    url = f"sqlite+aiosqlite:///{data_dir / 'everloop.db'}"
    await asyncio.to_thread(migrate, url)
    store = await Store.open(url)
    try:
        async with SandboxHost(store, data_dir=data_dir, host_id="bench") as host:
            await _start_ms(host)
            starts = [await _start_ms(host) for _ in range(STARTS)]
            commands = await _commands_ms(host)
    finally:
        await store.close()
    floor = statistics.median(_direct_ms() for _ in range(COMMANDS))
    ready = statistics.median(starts)
    return [
        Figure("environment, from nothing to ready", "ms", ready, None, READY_MS),
        Figure("command in an environment", "ms", statistics.median(commands), floor, COMMAND_MS),
    ]


async def _start_ms(host: SandboxHost) -> float:
    session = f"bench-{uuid.uuid4()}"
    start = time.perf_counter()
    async with host.use(session, EnvironmentSpec()):
        taken = time.perf_counter() - start
    await host.delete(session)
    return taken * 1000


async def _commands_ms(host: SandboxHost) -> list[float]:
    taken: list[float] = []
    async with host.use("bench-commands", EnvironmentSpec()) as environment:
        for _ in range(COMMANDS):
            start = time.perf_counter()
            await environment.exec(
                uuid.uuid4().hex, "true", timeout_s=10, output_bytes=1024, variables={}
            )
            taken.append((time.perf_counter() - start) * 1000)
    await host.delete("bench-commands")
    return taken


def _direct_ms() -> float:
    start = time.perf_counter()
    subprocess.run(["/bin/bash", "-c", "true"], check=True)
    return (time.perf_counter() - start) * 1000
