"""`everloop dev` on another day: `python -m tests.e2e.dev_on_another_day +3d DATA_DIR`.

It starts the same processes as the command does, each with its wall clock shifted.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from everloop.dev import ports, services, state, temporal
from everloop.dev.layout import DataDir
from everloop.dev.lock import DevLock
from everloop.dev.serve import DevOptions, StateBook
from everloop.dev.state import Phase
from everloop.dev.supervisor import Supervisor
from tests import clock


def main() -> None:
    """Run everything until SIGTERM."""
    shift, data = sys.argv[1], DataDir.at(Path(sys.argv[2]))
    options = DevOptions(data, api_port=0)
    data.create()
    with DevLock(data):
        before = state.load(data)
        chosen = ports.choose(api_port=0, remembered=before.ports if before else {})
        asyncio.run(_serve(options, chosen, shift))


async def _serve(options: DevOptions, chosen: dict[str, int], shift: str) -> None:
    plan = services.plan(
        options.data,
        chosen,
        region=options.region,
        temporal_binary=temporal.find(os.environ),
        env=os.environ,
    )
    book = StateBook(options, chosen)
    supervisor = Supervisor(
        processes=[replace(each, argv=clock.command(shift, each.argv)) for each in plan.processes],
        tasks=[replace(each, argv=clock.command(shift, each.argv)) for each in plan.tasks],
        report=lambda notice: print(notice, flush=True),
        changed=book.write,
    )
    book.follow(supervisor)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def announce() -> None:
        await supervisor.all_ready.wait()
        book.write(Phase.READY)

    announcing = asyncio.create_task(announce())
    await supervisor.run(stop)
    await announcing
    book.write(Phase.STOPPED)


if __name__ == "__main__":
    main()
