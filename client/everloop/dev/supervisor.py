"""All processes together: started as their needs are met, kept, and stopped in reverse order."""

import asyncio
from collections.abc import Callable, Sequence

from everloop.dev import logs
from everloop.dev.child import Child
from everloop.dev.errors import DevError
from everloop.dev.keeper import Keeper
from everloop.dev.notices import Reporter, how_it_ended
from everloop.dev.spec import ProcessSpec, TaskSpec, Timing
from everloop.dev.state import ProcessState


class TaskFailed(DevError):
    """A task that must end well did not; the message carries the end of its log."""


class Supervisor:
    """Runs tasks once and keeps processes running until told to stop."""

    def __init__(
        self,
        *,
        processes: Sequence[ProcessSpec],
        tasks: Sequence[TaskSpec] = (),
        timing: Timing | None = None,
        report: Reporter,
        changed: Callable[[], object],
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            processes: what to keep running, in the order of starting; stopping reverses it.
            tasks: what must end well first.
            timing: patience; the default fits Everloop's own processes.
            report: takes notices as they come.
            changed: called after each change of a process's state.
        """
        self._timing = timing or Timing()
        self._tasks = tuple(tasks)
        self._keepers = tuple(
            Keeper(spec, timing=self._timing, report=report, changed=changed) for spec in processes
        )
        self._done = {task.name: asyncio.Event() for task in tasks} | {
            keeper.spec.name: keeper.ready for keeper in self._keepers
        }
        self.all_ready = asyncio.Event()

    @property
    def states(self) -> tuple[ProcessState, ...]:
        """How every process stands, in the order of starting."""
        return tuple(keeper.state for keeper in self._keepers)

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, keep it, and when `stop` is set stop it all.

        Whatever ends this, no process is left.

        Raises:
            DevError: a task failed, or a process could not be brought to serve.
        """
        works = [
            *(asyncio.ensure_future(self._do(task)) for task in self._tasks),
            *(asyncio.ensure_future(self._keep(keeper)) for keeper in self._keepers),
            asyncio.ensure_future(self._watch_ready()),
        ]
        stopping = asyncio.ensure_future(_until(stop))
        try:
            await _first_end({*works, stopping}, stopping)
        finally:
            for work in (*works, stopping):
                work.cancel()
            await asyncio.gather(*works, stopping, return_exceptions=True)
            for keeper in reversed(self._keepers):
                await keeper.stop()

    async def _keep(self, keeper: Keeper) -> None:
        await self._wait_for(keeper.spec.after)
        await keeper.run()

    async def _do(self, task: TaskSpec) -> None:
        await self._wait_for(task.after)
        logs.rotate(task.log)
        child = await Child.start(task.argv, task.env, task.log)
        try:
            async with asyncio.timeout(task.limit_s):
                code = await child.wait()
            how = how_it_ended(code)
        except TimeoutError:
            code, how = -1, f"did not end within {task.limit_s:g} s"
        finally:
            await child.stop(term_s=self._timing.kill_s, kill_s=self._timing.kill_s)
        if code != 0:
            shown = "".join(f"\n  | {line}" for line in logs.tail(task.log, since=child.log_start))
            raise TaskFailed(f"{task.name} {how}. The end of {task.log}:{shown}")
        self._done[task.name].set()

    async def _watch_ready(self) -> None:
        for event in self._done.values():
            await event.wait()
        self.all_ready.set()

    async def _wait_for(self, names: tuple[str, ...]) -> None:
        for name in names:
            await self._done[name].wait()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _first_end(works: set["asyncio.Task[None]"], stopping: "asyncio.Task[None]") -> None:
    """Return when `stopping` is done; raise as soon as any of the works fails."""
    while not stopping.done():
        done, works = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        for work in done:
            work.result()
