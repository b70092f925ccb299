"""Commands: each is keyed by an id, runs once, and its result can be fetched again."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

from environments.agentd_loop import READ, Loop, Timer
from environments.agentd_memory import MemoryWatchdog, processes, taken_first
from environments.agentd_output import Capture
from environments.agentd_spool import Followed

#: Seconds between TERM and KILL.
TERM_GRACE_S = 2.0
#: Seconds after its end in which a command's output is still collected: a child that it left in the
#: background holds the pipes open, and must not hold up the call.
DRAIN_S = 0.25
#: Commands at once; each may start processes up to the sandbox's limit.
RUNNING_MAX = 32
#: Results kept for a caller that asks again; at 32 KiB each they take 8 MiB.
RESULTS_MAX = 256
#: Ids remembered after their results were dropped, so that none of them runs again.
IDS_MAX = 65536
#: Bytes read from a pipe at a time.
CHUNK = 65536

Waiter = Callable[[dict[str, Any]], None]


class Limits:
    """What a command may use, as the environment of agentd says."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Read `processes`, `open_files`, `file_bytes` and `memory_bytes`."""
        self.memory_bytes = int(config["memory_bytes"])
        self._limits = (
            (resource.RLIMIT_NPROC, int(config["processes"])),
            (resource.RLIMIT_NOFILE, int(config["open_files"])),
            (resource.RLIMIT_FSIZE, int(config["file_bytes"])),
            (resource.RLIMIT_CORE, 0),
        )

    def apply(self) -> None:
        """Bind the calling process and its children. Runs between fork and exec."""
        for which, limit in self._limits:
            hard = resource.getrlimit(which)[1]
            bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(which, (bound, bound))


class Job:
    """A command that runs, or that ended and left children which still write."""

    def __init__(
        self, process: subprocess.Popen[bytes], paths: tuple[str, str], limit: int
    ) -> None:
        """Hold a started process, and collect its two streams."""
        pipes = (process.stdout, process.stderr)
        self.process = process
        self.captures: dict[int, Capture] = {}
        self.open_pipes: dict[int, IO[bytes]] = {}
        for pipe, path in zip(pipes, paths):  # noqa: B905 - `strict` came with Python 3.10
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self.captures[pipe.fileno()] = Capture(path, limit)
            self.open_pipes[pipe.fileno()] = pipe
        self.waiters: list[Waiter] = []
        self.end: str | None = None
        self.exit_code: int | None = None
        self.timers: list[Timer] = []

    def signal_group(self, number: int) -> None:
        """Signal the command and every child that stayed in its group, as far as they still run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def group_runs(self) -> bool:
        """Whether the command or a child that stayed in its group still runs."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


class Jobs:
    """All commands of this environment."""

    def __init__(self, loop: Loop, config: dict[str, Any]) -> None:
        """Run nothing yet."""
        self._loop = loop
        self._mount: str = config["mount"]
        self._variables: dict[str, str] = config["variables"]
        self._limits = Limits(config)
        self._running: dict[str, Job] = {}
        self._results: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        #: The groups of commands that ended and left processes.
        self._left: OrderedDict[str, int] = OrderedDict()
        self._followed = Followed(loop, self._mount)
        self._watchdog = MemoryWatchdog(
            loop,
            self._limits.memory_bytes,
            leaders=self._leaders,
            kill=self._out_of_memory,
            seen=self.touch,
        )
        self.last_activity = time.monotonic()

    @property
    def running(self) -> int:
        """How many commands have not ended."""
        return len(self._running)

    def touch(self) -> None:
        """Note that the environment is in use."""
        self.last_activity = time.monotonic()

    def exec(self, request: dict[str, Any], waiter: Waiter) -> None:
        """Run a command, or join it when its id is known; `waiter` gets the answer."""
        self.touch()
        id = request["id"]
        if not self.attach(id, waiter) and self._begin(request, waiter):
            self.attach(id, waiter)

    def start(self, request: dict[str, Any], waiter: Waiter) -> None:
        """Run a command whose output is followed, unless its id is known; answered at once."""
        self.touch()
        if request["id"] in self._ids or self._begin(request, waiter, followed=True):
            waiter({"ok": True, "result": {}})

    def follow(self, request: dict[str, Any], waiter: Waiter) -> None:
        """Give `waiter` output of a command that was begun by `start`."""
        if not self._followed.follow(request, waiter):
            waiter(_error("unknown_id", "no output of a command with this id is kept"))

    def watch_memory(self) -> None:
        """Look after the memory of processes that were started beside commands."""
        self._watchdog.wake()

    def _begin(self, request: dict[str, Any], waiter: Waiter, *, followed: bool = False) -> bool:
        """Run a command whose id is new; False when it cannot be, which `waiter` is told."""
        id = request["id"]
        if len(self._running) >= RUNNING_MAX:
            waiter(_error("busy", f"{RUNNING_MAX} commands run already; wait for one to end"))
            return False
        _remember(self._ids, id, None, IDS_MAX)
        if followed:
            self._followed.begin(id)
        if id in self._cancelled:
            self._settle(id, _result("cancelled", None))
        else:
            self._start(id, request)
        return True

    def attach(self, id: str, waiter: Waiter) -> bool:
        """Have `waiter` get the answer for a known id; False when the id was never seen."""
        if id in self._running:
            self._running[id].waiters.append(waiter)
        elif id in self._results:
            waiter({"ok": True, "result": self._results[id]})
        elif id in self._ids:
            waiter(_error("forgotten", "the command ran and its result is no longer kept"))
        else:
            return False
        return True

    def leave(self, waiter: Waiter) -> None:
        """Forget a waiter whose caller is gone; its command goes on."""
        for job in self._running.values():
            if waiter in job.waiters:
                job.waiters.remove(waiter)
        self._followed.leave(waiter)

    def cancel(self, id: str) -> None:
        """End a command; one that was not asked for yet will not run."""
        if id in self._running:
            self._stop(id, "cancelled")
        elif id not in self._ids:
            _remember(self._cancelled, id, None, IDS_MAX)

    def end_left(self, id: str) -> None:
        """Kill what an ended command left in its group.

        The group's number is its own as long as somebody is in it; a process of that number would
        be the leader of a new one.
        """
        group = self._left.pop(id, None)
        found = processes()
        if group is None or any(each.pid == group for each in found):
            return
        if any(each.group == group for each in found):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _start(self, id: str, request: dict[str, Any]) -> None:
        try:
            with taken_first():
                process = subprocess.Popen(
                    ["bash", "-c", request["command"]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    cwd=request["cwd"] or self._mount,
                    env={**self._variables, **request["env"]},
                    start_new_session=True,
                    # Every descriptor of ours is already closed on exec.
                    close_fds=False,
                    preexec_fn=self._limits.apply,
                )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            text = f"the command could not be started: {error}\n"
            self._settle(id, _result("exited", 126, stderr=text))
            return
        path = os.path.join(self._mount, ".harness", "output", id)
        job = Job(process, (f"{path}.stdout", f"{path}.stderr"), request["output_bytes"])
        self._running[id] = job
        for stream, fd in enumerate(job.open_pipes):
            self._watch_pipe(id, job, stream, fd)
        pidfd = os.pidfd_open(process.pid)
        self._loop.watch(pidfd, READ, lambda: self._exited(id, job, pidfd, request["output_bytes"]))
        job.timers.append(
            self._loop.later(request["timeout_s"], lambda: self._stop(id, "timed_out"))
        )
        self._watchdog.wake()

    def _watch_pipe(self, id: str, job: Job, stream: int, fd: int) -> None:
        self._loop.watch(fd, READ, lambda: self._read(id, job, stream, fd))

    def _read(self, id: str, job: Job, stream: int, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if data:
            job.captures[fd].feed(data)
            self._followed.feed(id, stream, data)
            return
        self._loop.unwatch(fd)
        job.open_pipes.pop(fd).close()
        if job.exit_code is not None:
            job.captures[fd].close()

    def _stop(self, id: str, end: str) -> None:
        job = self._running.get(id)
        if job is None or job.end is not None:
            return
        job.end = end
        job.signal_group(signal.SIGTERM)
        job.timers.append(self._loop.later(TERM_GRACE_S, lambda: job.signal_group(signal.SIGKILL)))

    def _exited(self, id: str, job: Job, pidfd: int, budget: int) -> None:
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        code = job.process.wait()
        exit_code = code if code >= 0 else 128 - code
        deadline = time.monotonic() + DRAIN_S

        def collect() -> None:
            if job.open_pipes and time.monotonic() < deadline:
                self._loop.later(0.005, collect)
            else:
                self._finish(id, job, exit_code, budget)

        collect()

    def _finish(self, id: str, job: Job, exit_code: int, budget: int) -> None:
        for timer in job.timers:
            timer.cancel()
        if job.end is not None:
            job.signal_group(signal.SIGKILL)
        background = job.group_runs()
        stdout, stderr = job.captures.values()
        if background and job.open_pipes:
            for fd in job.open_pipes:
                job.captures[fd].keep_in_file()
        errors, errors_left_out = stderr.render(max(budget // 4, budget - stdout.total))
        text, text_left_out = stdout.render(budget - min(stderr.total, budget // 4))
        result = _result(job.end or "exited", exit_code, text, errors)
        result["left_out_bytes"] = text_left_out + errors_left_out
        result["output_file"] = next((c.path for c in (stdout, stderr) if c.in_file), None)
        result["background"] = background
        if background:
            _remember(self._left, id, job.process.pid, RESULTS_MAX)
        for fd, capture in job.captures.items():
            if fd not in job.open_pipes:
                capture.close()
        job.exit_code = exit_code
        del self._running[id]
        self._settle(id, result)
        for waiter in job.waiters:
            waiter({"ok": True, "result": result})

    def _settle(self, id: str, result: dict[str, Any]) -> None:
        _remember(self._results, id, result, RESULTS_MAX)
        self._followed.end(id, result)
        self.touch()

    def _leaders(self) -> set[int]:
        return {job.process.pid for job in self._running.values()}

    def _out_of_memory(self, leader: int) -> None:
        for job in self._running.values():
            if job.process.pid == leader:
                job.end = "out_of_memory"
                job.signal_group(signal.SIGKILL)


def _result(end: str, exit_code: int | None, stdout: str = "", stderr: str = "") -> dict[str, Any]:
    return {
        "end": end,
        "exit_code": exit_code,
        "stdout": stdout,
        "stderr": stderr,
        "left_out_bytes": 0,
        "output_file": None,
        "background": False,
    }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": code, "message": message}


def _remember(kept: OrderedDict[str, Any], id: str, value: Any, limit: int) -> None:
    kept[id] = value
    while len(kept) > limit:
        kept.popitem(last=False)
