"""Programs that start on another day."""

import json
import subprocess
import sys
import time

import pytest

from tests import clock

DAY_S = 86400
#: How much later a program may look at the clock than we do.
SLACK_S = 60

ALL_CLOCKS = """
import json, os, sqlite3, sys, time
print(json.dumps({
    "time": time.time(),
    "coarse": time.clock_gettime(5),
    "C's time": time.mktime(time.localtime()),
    "C's gettimeofday": sqlite3.connect(":memory:").execute(
        "SELECT (julianday('now') - 2440587.5) * 86400"
    ).fetchone()[0],
    "since boot": time.monotonic(),
    "pid": os.getpid(),
    "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
}))
"""


@pytest.fixture(autouse=True)
def _shifts() -> None:
    if why := clock.missing():
        pytest.skip(why)


@pytest.mark.parametrize(("shift", "days"), [("+3d", 3), ("-1w", -7), ("+1d12h", 1.5)])
def test_every_wall_clock_is_shifted_and_none_that_counts_from_boot(
    shift: str, days: float
) -> None:
    argv = clock.command(shift, (sys.executable, "-c", ALL_CLOCKS))
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        told = json.loads(program.communicate()[0])
    for name in ("time", "coarse", "C's time", "C's gettimeofday"):
        assert abs(told[name] - time.time() - days * DAY_S) < SLACK_S, name
    assert abs(told["since boot"] - time.monotonic()) < SLACK_S
    assert (told["pid"], told["children"]) == (program.pid, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("3d", "/bin/true"), "a shift is like +3d"),
        (("+3y", "/bin/true"), "a shift is like +3d"),
        (("+3d", "/nowhere"), "/nowhere: No such file"),
        (("+3d",), "usage"),
    ],
)
def test_what_cannot_be_started_is_refused(words: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        (*clock.command("+0s", ())[:-1], *words), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and said in done.stderr
