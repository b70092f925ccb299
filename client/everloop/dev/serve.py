"""`everloop dev`: everything on one machine until Ctrl-C or SIGTERM."""

import asyncio
import importlib.metadata
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from everloop.dev import ports, services, state, temporal
from everloop.dev.errors import DevError
from everloop.dev.layout import DataDir
from everloop.dev.lock import DevLock
from everloop.dev.notices import Reporter
from everloop.dev.state import DevState, Phase
from everloop.dev.supervisor import Supervisor

SERVER_DISTRIBUTION = "everloop-server"


@dataclass(frozen=True)
class DevOptions:
    """What a user may choose.

    Attributes:
        data: where state is kept.
        api_port: the API's port; 0 for any free one, None for the usual one if it is free.
        region: the region in ARNs.
    """

    data: DataDir
    api_port: int | None = None
    region: str = "us-east-1"


def require_server() -> None:
    """See that the server distribution is installed beside this command.

    Raises:
        DevError: it is not; the message says how to install it.
    """
    try:
        importlib.metadata.version(SERVER_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise DevError(
            "the server is not installed beside this command; "
            f"install it with: pip install '{SERVER_DISTRIBUTION}[dev-server]'"
        ) from None


def run(
    options: DevOptions,
    *,
    env: Mapping[str, str],
    report: Reporter,
    on_ready: Callable[[DevState], None],
    on_stop: Callable[[], None],
) -> None:
    """Run everything until the first SIGINT or SIGTERM, and stop it all. A second one kills.

    Args:
        options: what the user chose.
        env: the environment handed to the processes.
        report: takes notices as they come.
        on_ready: called once, when every process serves.
        on_stop: called when stopping begins.

    Raises:
        DevError: it could not be started; the message is for the user.
    """
    require_server()
    options.data.create()
    with DevLock(options.data):
        binary = temporal.find(env)
        before = state.load(options.data)
        chosen = ports.choose(api_port=options.api_port, remembered=before.ports if before else {})
        asyncio.run(_serve(options, chosen, binary, env, report, on_ready, on_stop))


async def _serve(
    options: DevOptions,
    chosen: dict[str, int],
    binary: str,
    env: Mapping[str, str],
    report: Reporter,
    on_ready: Callable[[DevState], None],
    on_stop: Callable[[], None],
) -> None:
    plan = services.plan(
        options.data, chosen, region=options.region, temporal_binary=binary, env=env
    )
    book = StateBook(options, chosen)
    supervisor = Supervisor(
        processes=plan.processes, tasks=plan.tasks, report=report, changed=book.write
    )
    book.follow(supervisor)
    stop = asyncio.Event()

    def begin_stop() -> None:
        if stop.is_set():
            # The second signal: the user does not want to wait, and nothing is lost by a kill.
            for process in supervisor.states:
                if process.pid is not None:
                    os.kill(process.pid, signal.SIGKILL)
            return
        stop.set()
        book.write(Phase.STOPPING)
        on_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, begin_stop)

    async def announce() -> None:
        await supervisor.all_ready.wait()
        on_ready(book.write(Phase.READY))

    announcing = asyncio.ensure_future(announce())
    try:
        await supervisor.run(stop)
    except DevError:
        book.write(Phase.FAILED)
        raise
    else:
        book.write(Phase.STOPPED)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)


class StateBook:
    """Keeps `dev.json` true."""

    def __init__(self, options: DevOptions, chosen: dict[str, int]) -> None:
        """Begin with what is known before anything is started."""
        self._data = options.data
        self._supervisor: Supervisor | None = None
        self._state = DevState(
            pid=os.getpid(),
            region=options.region,
            ports=chosen,
            addresses=services.addresses(chosen),
        )

    def follow(self, supervisor: Supervisor) -> None:
        """Take the processes' states from this supervisor from now on."""
        self._supervisor = supervisor

    def write(self, phase: Phase | None = None) -> DevState:
        """Write how things stand; a phase, when given, is the supervisor's new one."""
        changes: dict[str, object] = {}
        if self._supervisor is not None:
            changes["processes"] = self._supervisor.states
        if phase is not None:
            changes["phase"] = phase
        if phase in (Phase.STOPPED, Phase.FAILED):
            changes["pid"] = None
        self._state = self._state.model_copy(update=changes)
        state.save(self._data, self._state)
        return self._state
