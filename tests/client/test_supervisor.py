import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from everloop.dev.keeper import NeverReady
from everloop.dev.notices import Died, Notice, Ready, Stopped
from everloop.dev.probes import wrote_pid
from everloop.dev.spec import ProcessSpec, TaskSpec, Timing
from everloop.dev.state import Phase
from everloop.dev.supervisor import Supervisor, TaskFailed

QUICK = Timing(ready_s=15, poll_s=0.005, backoff_s=0.01, backoff_max_s=0.04, kill_s=5)

#: Says that it is ready, and on SIGTERM writes its name to the common diary.
POLITE = """
import os, signal, sys, time
name, ready, diary = sys.argv[1:]
def stop(*_):
    with open(diary, "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
with open(ready + ".new", "w") as file:
    file.write('{"pid": %d}' % os.getpid())
os.replace(ready + ".new", ready)
while True:
    time.sleep(60)
"""

#: Is ready, says a last word and dies.
SHORT_LIVED = """
import os, sys, time
ready = sys.argv[2]
print("my last words", flush=True)
with open(ready + ".new", "w") as file:
    file.write('{"pid": %d}' % os.getpid())
os.replace(ready + ".new", ready)
while os.path.exists(ready):
    time.sleep(0.001)
sys.exit(3)
"""

DEAF = POLITE.replace(
    "signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
)


class Household:
    """Makes specs under one directory and collects notices."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.diary = root / "diary"
        self.diary.touch()
        self.notices: list[Notice] = []
        self.stop = asyncio.Event()

    def process(
        self, name: str, script: str = POLITE, *, after: tuple[str, ...] = (), stop_s: float = 10
    ) -> ProcessSpec:
        ready = self.root / f"{name}.ready"
        return ProcessSpec(
            name,
            (sys.executable, "-c", script, name, str(ready), str(self.diary)),
            dict(os.environ),
            self.root / f"{name}.log",
            wrote_pid(ready),
            after=after,
            stop_s=stop_s,
            ready_file=ready,
        )

    def task(self, name: str, script: str) -> TaskSpec:
        return TaskSpec(
            name, (sys.executable, "-c", script), dict(os.environ), self.root / f"{name}.log"
        )

    def supervisor(
        self, *processes: ProcessSpec, tasks: tuple[TaskSpec, ...] = (), timing: Timing = QUICK
    ) -> Supervisor:
        return Supervisor(
            processes=processes,
            tasks=tasks,
            timing=timing,
            report=self.notices.append,
            changed=lambda: None,
        )

    def of(self, kind: type[Notice]) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, kind)]


@pytest.fixture
def house(tmp_path: Path) -> Household:
    return Household(tmp_path)


async def test_starts_in_order_of_needs_and_stops_in_reverse(house: Household) -> None:
    supervisor = house.supervisor(
        house.process("first"),
        house.process("second", after=("first", "prepare")),
        house.process("third", after=("second",)),
        tasks=(house.task("prepare", "print('prepared')"),),
    )
    running = asyncio.ensure_future(supervisor.run(house.stop))
    async with asyncio.timeout(30):
        await supervisor.all_ready.wait()
        assert [state.phase for state in supervisor.states] == [Phase.READY] * 3
        house.stop.set()
        await running
    assert [notice.name for notice in house.of(Ready)] == ["first", "second", "third"]
    assert house.diary.read_text().split() == ["third", "second", "first"]
    assert [state.phase for state in supervisor.states] == [Phase.STOPPED] * 3
    assert [state.pid for state in supervisor.states] == [None] * 3


async def test_starts_a_killed_process_again_and_says_how_it_ended(
    house: Household, eventually: Callable[..., Awaitable[None]]
) -> None:
    supervisor = house.supervisor(house.process("worker"))
    running = asyncio.ensure_future(supervisor.run(house.stop))
    await eventually(supervisor.all_ready.is_set)
    old = supervisor.states[0].pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: len(house.of(Ready)) == 2, "a second life")
    (died,) = house.of(Died)
    assert died == Died("worker", "was ended by signal 9 (SIGKILL)", "up", 0.01)
    state = supervisor.states[0]
    assert state.restarts == 1 and state.pid != old and state.phase is Phase.READY
    house.stop.set()
    await running


async def test_waits_longer_before_each_restart_up_to_a_limit(
    house: Household, eventually: Callable[..., Awaitable[None]]
) -> None:
    supervisor = house.supervisor(_dies_soon(house))
    running = asyncio.ensure_future(supervisor.run(house.stop))
    await eventually(lambda: len(house.of(Died)) >= 4, "four deaths")
    house.stop.set()
    await running
    died = [notice for notice in house.notices if isinstance(notice, Died)][:4]
    assert [notice.retry_s for notice in died] == [0.01, 0.02, 0.04, 0.04]
    assert died[0].how == "ended with exit code 3"
    assert died[0].last_line == "my last words"


async def test_forgets_the_waiting_after_a_healthy_life(
    house: Household, eventually: Callable[..., Awaitable[None]]
) -> None:
    timing = Timing(poll_s=0.005, backoff_s=0.01, healthy_s=0)
    supervisor = house.supervisor(_dies_soon(house), timing=timing)
    running = asyncio.ensure_future(supervisor.run(house.stop))
    await eventually(lambda: len(house.of(Died)) >= 3, "three deaths")
    house.stop.set()
    await running
    died = [notice for notice in house.notices if isinstance(notice, Died)][:3]
    assert [notice.retry_s for notice in died] == [0.01, 0.01, 0.01]


async def test_fails_with_the_log_when_a_process_dies_before_it_was_ever_ready(
    house: Household,
) -> None:
    broken = house.process("broken", "import sys; sys.exit('no such thing as luck')")
    supervisor = house.supervisor(house.process("sound"), broken)
    with pytest.raises(
        NeverReady, match="(?s)broken ended with exit code 1.*no such thing as luck"
    ):
        await supervisor.run(house.stop)
    assert len(house.of(Died)) == QUICK.first_starts - 1
    assert [state.phase for state in supervisor.states] == [Phase.STOPPED, Phase.FAILED]
    assert supervisor.states[0].pid is None


async def test_fails_when_a_process_is_not_ready_in_time(house: Household) -> None:
    idle = house.process("idle", "import time; print('thinking', flush=True); time.sleep(600)")
    supervisor = house.supervisor(idle, timing=Timing(ready_s=1, poll_s=0.01))
    with pytest.raises(NeverReady, match="(?s)idle was not ready within 1 s.*thinking"):
        await supervisor.run(house.stop)


async def test_kills_what_does_not_listen(house: Household) -> None:
    supervisor = house.supervisor(house.process("deaf", DEAF, stop_s=0.2))
    running = asyncio.ensure_future(supervisor.run(house.stop))
    async with asyncio.timeout(30):
        await supervisor.all_ready.wait()
        house.stop.set()
        await running
    assert house.of(Stopped) == [Stopped("deaf", killed=True)]


async def test_a_failed_task_keeps_its_dependents_from_starting(house: Household) -> None:
    supervisor = house.supervisor(
        house.process("api", after=("migrate",)),
        tasks=(house.task("migrate", "raise SystemExit('no table today')"),),
    )
    with pytest.raises(TaskFailed, match="(?s)migrate ended with exit code 1.*no table today"):
        await supervisor.run(house.stop)
    assert not (house.root / "api.log").exists()


def test_children_go_when_the_supervisor_is_killed(
    tmp_path: Path, until: Callable[..., None]
) -> None:
    script = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_supervisor import Household, DEAF
async def main():
    house = Household(Path({str(tmp_path)!r}))
    supervisor = house.supervisor(house.process("one"), house.process("two", DEAF))
    running = asyncio.ensure_future(supervisor.run(house.stop))
    await supervisor.all_ready.wait()
    print(*(state.pid for state in supervisor.states), flush=True)
    await running
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(word) for word in supervisor.stdout.readline().split()]
        assert len(pids) == 2 and all(_lives(pid) for pid in pids)
        supervisor.kill()
    until(lambda: not any(_lives(pid) for pid in pids), "the end of the children")


def _dies_soon(house: Household) -> ProcessSpec:
    """A process that ends as soon as its readiness was noticed."""
    spec = house.process("short", SHORT_LIVED)
    ready_file = spec.ready_file
    assert ready_file is not None
    probe = wrote_pid(ready_file)

    async def noticed(pid: int) -> bool:
        if not await probe(pid):
            return False
        asyncio.get_running_loop().call_later(0.02, ready_file.unlink, True)
        return True

    return ProcessSpec(
        spec.name, spec.argv, spec.env, spec.log, noticed, ready_file=spec.ready_file
    )


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A killed orphan may stay a zombie where nothing reaps it.
    return stat.rpartition(")")[2].split()[0] != "Z"
