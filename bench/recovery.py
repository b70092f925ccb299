"""What a caller waits when the worker is killed with -9 in the middle of a model's answer."""

import os
import signal
import statistics
import time

from bench.bed import Bed
from bench.report import Figure
from tests.e2e.stack import Frame, new_session, say

#: Seconds until the next token: five for the heartbeat that does not come, and room.
NEXT_TOKEN_S = 8.0
TOKENS = 150
#: Tokens that the caller has read when the worker dies.
READ = 20


def measure(bed: Bed) -> list[Figure]:
    """Kill the worker in a stream, round after round.

    Returns:
        The median time from the kill to the first token of the next attempt.
    """
    arn = bed.harness()
    bed.stack.invoke(arn, new_session(), say("count 1"))
    taken = [_round(bed, arn) for _ in range(bed.options.rounds)]
    what = "worker killed with -9 in an answer, to the next token"
    return [Figure(what, "s", statistics.median(taken), None, NEXT_TOKEN_S)]


def _round(bed: Bed, arn: str) -> float:
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
    if text.split() != [str(number) for number in range(TOKENS)]:
        raise RuntimeError("the answer is not what the model said")
    return resumed - killed


def _token(frame: Frame) -> str:
    return frame.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
