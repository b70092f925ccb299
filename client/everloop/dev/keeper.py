"""Keep one process running: start it, see that it serves, start it again when it dies."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from everloop.dev import logs
from everloop.dev.child import Child
from everloop.dev.errors import DevError
from everloop.dev.notices import Died, Ready, Reporter, Stopped, how_it_ended
from everloop.dev.spec import ProcessSpec, Timing
from everloop.dev.state import Phase, ProcessState


class NeverReady(DevError):
    """A process could not be brought to serve; the message carries the end of its log."""


class Keeper:
    """The life of one process under the supervisor.

    `state` always says how it stands; `changed` is called after each change of it.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        timing: Timing,
        report: Reporter,
        changed: Callable[[], object],
    ) -> None:
        """Prepare to keep a process; nothing is started yet."""
        self.spec = spec
        self.state = ProcessState(name=spec.name, address=spec.address, log=str(spec.log))
        self.ready = asyncio.Event()
        self._timing = timing
        self._report = report
        self._changed = changed
        self._child: Child | None = None

    async def run(self) -> None:
        """Keep the process running until cancelled; then it still runs, and `stop` ends it.

        Raises:
            NeverReady: it died too often, or took too long, before it had ever been ready.
        """
        logs.rotate(self.spec.log)
        delay = self._timing.backoff_s
        deaths = 0
        while True:
            how, healthy_s = await self._live_once()
            deaths += 1
            if not self.ready.is_set() and self._hopeless(deaths, how):
                self._set(phase=Phase.FAILED, pid=None)
                raise NeverReady(self._why(how))
            if healthy_s >= self._timing.healthy_s:
                delay = self._timing.backoff_s
            self._set(phase=Phase.RESTARTING, pid=None, restarts=self.state.restarts + 1)
            last = logs.tail(self.spec.log, since=self._log_start, lines=1)
            self._report(Died(self.spec.name, how, last[0] if last else "", delay))
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._timing.backoff_max_s)

    async def stop(self) -> None:
        """End the process, if it runs, and report it."""
        if self._child is not None and self.state.pid is not None:
            self._set(phase=Phase.STOPPING)
            killed = await self._child.stop(term_s=self.spec.stop_s, kill_s=self._timing.kill_s)
            self._report(Stopped(self.spec.name, killed))
        if self.state.phase is not Phase.FAILED:
            self._set(phase=Phase.STOPPED, pid=None)

    @property
    def _log_start(self) -> int:
        return self._child.log_start if self._child else 0

    async def _live_once(self) -> tuple[str, float]:
        """One life of the process: how it ended, and for how many seconds it had been ready."""
        if self.spec.ready_file is not None:
            self.spec.ready_file.unlink(missing_ok=True)
        self._child = await Child.start(self.spec.argv, self.spec.env, self.spec.log)
        child = self._child
        self._set(phase=Phase.STARTING, pid=child.pid)
        ended = asyncio.ensure_future(child.wait())
        try:
            if not await self._becomes_ready(child, ended):
                if ended.done():
                    return how_it_ended(ended.result()), 0.0
                await child.stop(term_s=self.spec.stop_s, kill_s=self._timing.kill_s)
                return f"was not ready within {self._timing.ready_s:g} s", 0.0
            since = time.monotonic()
            self.ready.set()
            self._set(phase=Phase.READY)
            self._report(
                Ready(
                    self.spec.name,
                    self.spec.address,
                    since - child.started,
                    self.state.restarts,
                )
            )
            code = await asyncio.shield(ended)
            return how_it_ended(code), time.monotonic() - since
        finally:
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended

    async def _becomes_ready(self, child: Child, ended: "asyncio.Future[int]") -> bool:
        deadline = child.started + self._timing.ready_s
        while time.monotonic() < deadline and not ended.done():
            if await self.spec.ready(child.pid) and not ended.done():
                return True
            await asyncio.wait([ended], timeout=self._timing.poll_s)
        return False

    def _hopeless(self, deaths: int, how: str) -> bool:
        return deaths >= self._timing.first_starts or how.startswith("was not ready")

    def _why(self, how: str) -> str:
        lines = logs.tail(self.spec.log, since=self._log_start)
        shown = "".join(f"\n  | {line}" for line in lines) or "\n  | (its log is empty)"
        return f"{self.spec.name} {how}. The end of {self.spec.log}:{shown}"

    def _set(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)
        self._changed()
