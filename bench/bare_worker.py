"""The bare loop's worker process, started beside a measurement."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


@asynccontextmanager
async def bare_worker(address: str) -> AsyncGenerator[int]:
    """Serve `bench.bare` on a Temporal at `address` in a process, whose id it gives."""
    worker = subprocess.Popen([sys.executable, "-m", "bench.bare", address], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    try:
        await asyncio.to_thread(worker.stdout.readline)
        yield worker.pid
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
