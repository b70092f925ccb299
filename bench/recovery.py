"""What a caller waits when a process is killed with -9 in the middle of a turn."""

import contextlib
import os
import signal
import statistics
import time
import uuid
from collections.abc import Generator

from bench.bed import Bed
from bench.report import Figure
from tests.e2e.stack import Frame, new_session, say

#: Seconds until the next token: five for the heartbeat that does not come, and room.
NEXT_TOKEN_S = 8.0
TOKENS = 150
#: Tokens that the caller has read when a process dies.
READ = 20
#: Commands of a turn, and how many of their results the caller has read when a process dies.
STEPS, RESULTS = 40, 5
#: Seconds until a process that was killed must serve again.
PATIENCE_S = 60.0


def measure(bed: Bed) -> list[Figure]:
    """Kill each process in a turn, round after round.

    Returns:
        Median times: of the worker to the first token of the next attempt, of the API to the first
        token for a caller who sends again, of Temporal and the sandbox host the longest wait for a
        command's result.
    """
    arn = bed.harness(maxIterations=STEPS + 1)
    bed.stack.invoke(arn, new_session(), say("work 1"))
    rounds = range(bed.options.rounds)
    worker = [_worker(bed, arn) for _ in rounds]
    api = [_api(bed, arn) for _ in rounds]
    stalls = {
        name: [_stall(bed, arn, name) for _ in rounds] for name in ("temporal", "sandbox-host")
    }
    return [
        Figure(
            "worker killed with -9 in an answer, to the next token",
            "s",
            statistics.median(worker),
            None,
            NEXT_TOKEN_S,
        ),
        Figure(
            "API killed with -9 in an answer, to a token for who sends again",
            "s",
            statistics.median(api),
        ),
        *(
            Figure(f"{name} killed with -9 in a loop of tools, to a result", "s", each)
            for name, each in ((name, statistics.median(taken)) for name, taken in stalls.items())
        ),
    ]


def _worker(bed: Bed, arn: str) -> float:
    bed.stack.wait_ready("worker")
    pid = bed.stack.process("worker")["pid"]
    killed = resumed = 0.0
    interrupted = False
    text, stop_reason = "", ""
    for frame in bed.stack.open(arn, new_session(), say(f"count {TOKENS}")):
        if stop := frame.get("messageStop"):
            stop_reason = stop["stopReason"]
            if stop_reason == "interrupted":
                interrupted, text = True, ""
        text += _token(frame)
        if not killed and text.count(" ") >= READ:
            os.kill(pid, signal.SIGKILL)
            killed = time.perf_counter()
        if interrupted and text and not resumed:
            resumed = time.perf_counter()
    if not resumed or stop_reason != "end_turn":
        raise RuntimeError(f"the turn ended as {stop_reason}, resumed: {bool(resumed)}")
    _check(text)
    return resumed - killed


def _api(bed: Bed, arn: str) -> float:
    bed.stack.wait_ready("api")
    pid = bed.stack.process("api")["pid"]
    session, key = new_session(), uuid.uuid4().hex
    text = ""
    with contextlib.closing(_again(bed, arn, session, key)) as frames:
        while text.count(" ") < READ:
            text += _token(next(frames))
    os.kill(pid, signal.SIGKILL)
    killed = time.perf_counter()
    first, text = 0.0, ""
    for frame in _again(bed, arn, session, key):
        text += _token(frame)
        if text and not first:
            first = time.perf_counter()
    _check(text)
    return first - killed


def _again(bed: Bed, arn: str, session: str, key: str) -> Generator[Frame]:
    """Send an invocation again until the API takes it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return bed.stack.open(arn, session, say(f"count {TOKENS}"), key=key)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _stall(bed: Bed, arn: str, victim: str) -> float:
    bed.stack.wait_ready(victim)
    pid = bed.stack.process(victim)["pid"]
    killed = 0.0
    came: list[float] = []
    stop_reason = ""
    for frame in bed.stack.open(arn, new_session(), say(f"work {STEPS}")):
        if stop := frame.get("messageStop"):
            stop_reason = stop["stopReason"]
        if stop_reason == "tool_result" and stop:
            came.append(time.perf_counter())
            if len(came) == RESULTS:
                os.kill(pid, signal.SIGKILL)
                killed = time.perf_counter()
    if stop_reason != "end_turn" or len(came) != STEPS:
        raise RuntimeError(f"the turn ended as {stop_reason} after {len(came)} results")
    after = [killed, *came[RESULTS:]]
    return max(late - early for early, late in zip(after, after[1:], strict=False))


def _check(text: str) -> None:
    if text.split() != [str(number) for number in range(TOKENS)]:
        raise RuntimeError("the answer is not what the model said")


def _token(frame: Frame) -> str:
    return frame.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
