"""The acts of the demonstration, in order. Each shows something and checks that it was so."""

import re
import sys
import threading

from everloop.cli import answers
from everloop.cli.demo.stage import APPROVAL_TOOL, DemoFailed, Stage
from everloop.cli.happenings import Happening, ToolCall
from everloop.types import StopReason

#: Steps of the slow command, and seconds each takes: long enough to kill a worker within.
SLOW_STEPS = 8
SLOW_STEP_S = 1
#: Seconds from the call of the slow command to the kill: some of its steps are done then.
KILL_AFTER_S = 3.0

REPORT = "report.md"
REPORT_TEXT = "Everything that was asked for is done."
STEPS_FILE = "steps.txt"


def tell(stage: Stage) -> None:
    """Show every act.

    Raises:
        DemoFailed: something did not happen.
        CommandError: the API failed.
    """
    _define(stage)
    _run_a_command(stage)
    _write_a_file(stage)
    _ask_for_approval(stage)
    _survive(stage)


def _define(stage: Stage) -> None:
    stage.heading(1, "Define an agent: CreateHarness")
    harness = stage.create_harness()
    stage.say(f"  harness  {harness['arn']}")
    stage.say("  model    demo/scripted: a handful of rules, not an LLM; any real one goes here")
    stage.say(f"  tools    shell, file_operations, and the inline function {APPROVAL_TOOL}")
    stage.say(f"  session  {stage.session}")
    stage.check(harness["status"] == "READY", f"it is {harness['status']}")
    stage.verified("the harness is READY")


def _run_a_command(stage: Stage) -> None:
    stage.heading(2, "Run it: InvokeHarness, a shell command in the session's own environment")
    command = "echo $((6 * 7)) from $(uname -s), home $HOME; pwd"
    turn = stage.turn(stage.ask(f"Run the shell command `{command}`."))
    result = turn.result_of("shell")
    stage.check(turn.stop_reason == StopReason.END_TURN, f"the turn ended with {turn.stop_reason}")
    stage.check(result.status == "success", f"the command failed: {result.text}")
    stage.check("42 from Linux" in result.text, f"the command said: {result.text}")
    stage.check(turn.text_pieces > 1, "the text came in one piece instead of streaming")
    stage.verified(f"the command ran; the text streamed in {turn.text_pieces} pieces")


def _write_a_file(stage: Stage) -> None:
    stage.heading(3, "Write a file; it stays with the session")
    turn = stage.turn(
        stage.ask(f"Write the file `{REPORT}` with `{REPORT_TEXT}`. Read the file `{REPORT}`.")
    )
    read = turn.result_of("file_operations")
    stage.check(turn.stop_reason == StopReason.END_TURN, f"the turn ended with {turn.stop_reason}")
    stage.check(REPORT_TEXT in read.text, f"reading it back gave: {read.text}")
    stage.verified("the file was written and read back")


def _ask_for_approval(stage: Stage) -> None:
    stage.heading(4, "Ask a person: the turn waits, holding no process")
    turn = stage.turn(stage.ask(f"Ask for approval. Run the shell command `cat {REPORT}`."))
    stage.check(turn.stop_reason == StopReason.TOOL_USE, f"the turn ended with {turn.stop_reason}")
    waiting = [call for call in turn.pending if call.name == APPROVAL_TOOL]
    stage.check(len(waiting) == 1, f"{len(waiting)} calls of {APPROVAL_TOOL} wait instead of one")
    approved = _decide(stage)
    answer = {waiting[0].id: answers.YES if approved else answers.NO}
    resumed = stage.turn(answers.message(answer))
    stage.check(
        resumed.stop_reason == StopReason.END_TURN, f"the turn ended with {resumed.stop_reason}"
    )
    ran = any(result.name == "shell" for result in resumed.results)
    stage.check(ran == approved, "what was done does not follow the answer")
    stage.verified("approved, and it went on" if approved else "declined, and it stopped there")


def _decide(stage: Stage) -> bool:
    import typer

    if sys.stdin.isatty() and sys.stdout.isatty():
        return typer.confirm("Do you approve?", default=True)
    stage.say("No terminal to ask at: the demonstration approves by itself.")
    return True


def _survive(stage: Stage) -> None:
    stage.heading(5, "Kill the worker with SIGKILL in the middle of a command")
    loop = (
        f"for n in $(seq {SLOW_STEPS}); do echo step $n >> {STEPS_FILE}; sleep {SLOW_STEP_S}; done"
    )
    prompt = (
        f"Run the shell command `{loop}; echo the loop is done`. "
        f"Run the shell command `cat {STEPS_FILE}`."
    )
    stage.say(f"The worker is killed {KILL_AFTER_S:g} s after the command has begun.")
    before = stage.worker()
    assassin = _Assassin(stage)
    turn = stage.turn(stage.ask(prompt), watch=assassin)
    killed = assassin.outcome()
    worker = stage.wait_for_new_worker(killed)
    expected = list(range(1, SLOW_STEPS + 1))
    counted = [int(found) for found in re.findall(r"step (\d+)", turn.result_of("shell").text)]
    stage.check(turn.stop_reason == StopReason.END_TURN, f"the turn ended with {turn.stop_reason}")
    stage.check(len(turn.calls) == 2, f"{len(turn.calls)} tool calls were made instead of 2")
    stage.check(counted == expected, f"the file counts {counted} instead of {expected}")
    stage.check(worker.restarts > before.restarts, "the supervisor did not restart the worker")
    stage.verified(
        f"worker {killed} died, worker {worker.pid} went on; the file has its {SLOW_STEPS} lines, "
        "each once"
    )


class _Assassin:
    """Kills the worker once, some time after the first tool call was seen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._timer = threading.Timer(KILL_AFTER_S, self._strike)
        self._timer.daemon = True
        self._armed = False
        self._killed: int | None = None
        self._problem: Exception | None = None

    def __call__(self, happening: Happening) -> None:
        if isinstance(happening, ToolCall) and not self._armed:
            self._armed = True
            self._timer.start()

    def outcome(self) -> int:
        """The process id that was killed.

        Raises:
            DemoFailed: none was.
        """
        self._timer.cancel()
        if self._killed is None:
            raise DemoFailed(
                f"the worker was not killed in time: {self._problem or 'no tool call'}"
            )
        return self._killed

    def _strike(self) -> None:
        try:
            self._killed = self._stage.kill_worker()
        except (DemoFailed, OSError) as problem:
            self._problem = problem
            return
        self._stage.console.print(
            f"☠ killed the worker (pid {self._killed}) with SIGKILL; the stream stays open ...",
            style="bold red",
            markup=False,
        )
