"""What the acts of the demonstration need: a harness, turns, checks, and a worker to kill."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from everloop.cli import names
from everloop.cli.aws import Aws, Json
from everloop.cli.connection import Connection
from everloop.cli.converse import Conversation
from everloop.cli.create import DEFAULT_ROLE
from everloop.cli.errors import CommandError
from everloop.cli.happenings import Happening, TextPiece, ToolCall, ToolResult
from everloop.cli.model import DEMO_MODEL
from everloop.cli.settle import settled_harness
from everloop.cli.view import View
from everloop.dev import ports, services
from everloop.dev.layout import DataDir
from everloop.dev.state import DevState, Phase, ProcessState, load

if TYPE_CHECKING:
    from rich.console import Console

HARNESS_NAME = "everloop_demo"
APPROVAL_TOOL = "request_approval"
APPROVAL: Json = {
    "type": "inline_function",
    "name": APPROVAL_TOOL,
    "config": {
        "inlineFunction": {
            "description": "Ask a person whether to go ahead.",
            "inputSchema": {
                "type": "object",
                "properties": {"question": {"type": "string"}},
                "required": ["question"],
            },
        }
    },
}
#: Seconds until the supervisor must have a new worker serving: import, connect, and one back-off.
WORKER_BACK_S = 60.0
POLL_S = 0.1


class DemoFailed(CommandError):
    """Something that the demonstration promises did not happen."""


@dataclass
class Turn:
    """What one invocation showed."""

    stop_reason: str | None
    text: str = ""
    text_pieces: int = 0
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    results: list[ToolResult] = field(default_factory=list[ToolResult])
    pending: tuple[ToolCall, ...] = ()

    def result_of(self, tool: str) -> ToolResult:
        """The last result of a tool.

        Raises:
            DemoFailed: there is none.
        """
        found = [result for result in self.results if result.name == tool]
        if not found:
            raise DemoFailed(f"no result of the tool {tool} came")
        return found[-1]


class Stage:
    """One session of one harness, shown on a console."""

    def __init__(self, console: "Console", data: DataDir, state: DevState) -> None:
        """Prepare; nothing is sent yet."""
        self.console = console
        self.data = data
        api = state.addresses[ports.API]
        self.aws = Aws(Connection(api, api, state.region))
        self.session = names.new_session_id()
        self._arn = ""

    def heading(self, number: int, title: str) -> None:
        """Begin an act."""
        from rich.rule import Rule
        from rich.text import Text

        self.console.print()
        self.console.print(
            Rule(Text(f"{number}. {title}", style="bold"), align="left", style="dim")
        )

    def say(self, text: str) -> None:
        """Explain something."""
        self.console.print(text, markup=False)

    def verified(self, text: str) -> None:
        """Say what was checked and held."""
        self.console.print(f"✓ {text}", style="bold green", markup=False)

    def check(self, holds: bool, otherwise: str) -> None:
        """See that something is so.

        Raises:
            DemoFailed: it is not.
        """
        if not holds:
            raise DemoFailed(f"the demonstration failed: {otherwise}")

    def create_harness(self) -> Json:
        """The demo harness: created, or the one that an earlier demonstration left."""
        for summary in self.aws.list_harnesses():
            if summary["harnessName"] == HARNESS_NAME:
                gone = self.aws.delete_harness(summary["harnessId"])
                settled_harness(self.aws, gone, wait=True)
        answer = self.aws.create_harness(
            {
                "harnessName": HARNESS_NAME,
                "executionRoleArn": DEFAULT_ROLE,
                "model": {"liteLlmModelConfig": {"modelId": DEMO_MODEL}},
                "tools": [APPROVAL],
            }
        )
        harness = settled_harness(self.aws, answer, wait=True)
        self._arn = harness["arn"]
        return harness

    def turn(self, message: Json, *, watch: Callable[[Happening], None] | None = None) -> Turn:
        """Invoke with one user message, show everything, and return what came."""
        view, turn = View(self.console), Turn(None)

        def show(happening: Happening) -> None:
            view.show(happening)
            match happening:
                case TextPiece(text):
                    turn.text += text
                    turn.text_pieces += 1
                case ToolCall():
                    turn.calls.append(happening)
                case ToolResult():
                    turn.results.append(happening)
                case _:
                    pass
            if watch is not None:
                watch(happening)

        request = {"harnessArn": self._arn, "runtimeSessionId": self.session}
        talk = Conversation(self.aws, request, show)
        reader = talk.invoke([message], names.new_invocation_id())
        view.finish(reader.stop_reason, talk.usage, talk.model_calls)
        turn.stop_reason = reader.stop_reason
        turn.pending = tuple(reader.pending.values()) if reader.waits_for_answers else ()
        return turn

    def ask(self, text: str) -> Json:
        """Show what the user says, and make the message of it."""
        self.console.print(f"you ▸ {text}", style="bold", markup=False)
        return {"role": "user", "content": [{"text": text}]}

    def worker(self) -> ProcessState:
        """How the worker stands now.

        Raises:
            DemoFailed: `dev.json` does not know it.
        """
        state = load(self.data)
        found = state.process(services.WORKER) if state else None
        if found is None:
            raise DemoFailed(f"{self.data.state} names no worker")
        return found

    def kill_worker(self) -> int:
        """Kill the worker with SIGKILL; its process id.

        Raises:
            DemoFailed: it does not run.
        """
        pid = self.worker().pid
        if pid is None:
            raise DemoFailed("the worker does not run")
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_new_worker(self, old_pid: int) -> ProcessState:
        """Wait until the supervisor has another worker serving.

        Raises:
            DemoFailed: it has none after a minute.
        """
        deadline = time.monotonic() + WORKER_BACK_S
        while time.monotonic() < deadline:
            worker = self.worker()
            if worker.phase is Phase.READY and worker.pid != old_pid:
                return worker
            time.sleep(POLL_S)
        raise DemoFailed(f"no new worker within {WORKER_BACK_S:g} s of the old one's death")
