"""A running Everloop for tests: real processes, started as users do, and ways to hurt them."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import boto3
from botocore.config import Config

from environments.bubblewrap import Bubblewrap
from tests.everloop_command import run_everloop
from tests.provisioned import settling

ROLE = "arn:aws:iam::000000000000:role/Agent"
DEMO = {"liteLlmModelConfig": {"modelId": "demo/scripted"}}
APPROVAL = {
    "type": "inline_function",
    "name": "request_approval",
    "config": {
        "inlineFunction": {
            "description": "Ask a person to approve what is about to be done.",
            "inputSchema": {
                "type": "object",
                "properties": {"request": {"type": "string"}},
                "required": ["request"],
            },
        }
    },
}

Frame = dict[str, Any]
T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, within_s: float = 30, what: str = "") -> T:
    """Poll until the condition is truthy.

    Raises:
        TimeoutError: it did not become so in time.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what or "the condition did not come about")
        time.sleep(0.02)
    return value


def new_session() -> str:
    return f"session-{uuid.uuid4()}"


def say(text: str) -> list[Frame]:
    """The `messages` of a plain user message."""
    return [{"role": "user", "content": [{"text": text}]}]


def answer(*results: tuple[str, str]) -> list[Frame]:
    """The `messages` that answer waiting calls: (tool use id, text)."""
    return [
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": tool_use_id,
                        "content": [{"text": text}],
                        "status": "success",
                    }
                }
                for tool_use_id, text in results
            ],
        }
    ]


def commands_like(words: str) -> list[int]:
    """Processes of this machine whose command line has these words."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words in line:
                found.append(int(entry.name))
    return found


def _first_process(info: Path) -> int:
    """Of a sandbox, by what bwrap told of it; 0 when it has not come so far."""
    try:
        return json.loads(info.read_bytes())["child-pid"]
    except (FileNotFoundError, ValueError):
        return 0


def _lives(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@dataclass
class Told:
    """What a stream told, put together as a client would."""

    frames: list[Frame] = field(default_factory=list[Frame])

    @property
    def stops(self) -> list[str]:
        return [f["messageStop"]["stopReason"] for f in self.frames if "messageStop" in f]

    @property
    def stop_reason(self) -> str:
        return self.stops[-1]

    @property
    def messages(self) -> list[tuple[str, str, str]]:
        """(role, stop reason, all text and results) of each message."""
        told: list[tuple[str, str, str]] = []
        role, text = "", ""
        for frame in self.frames:
            if "messageStart" in frame:
                role, text = frame["messageStart"]["role"], ""
            elif "contentBlockDelta" in frame:
                delta = frame["contentBlockDelta"]["delta"]
                text += delta.get("text", "")
                text += "".join(piece["text"] for piece in delta.get("toolResult", []))
            elif "messageStop" in frame:
                told.append((role, frame["messageStop"]["stopReason"], text))
                role, text = "", ""
        return told

    @property
    def text(self) -> str:
        """The text of settled assistant messages."""
        return "".join(
            text
            for role, stop, text in self.messages
            if role == "assistant" and stop != "interrupted"
        )

    @property
    def results(self) -> list[str]:
        """The text of each user message of tool results."""
        return [text for role, _, text in self.messages if role == "user"]

    @property
    def tool_uses(self) -> list[Frame]:
        """Every tool call's start: toolUseId and name."""
        return [
            frame["contentBlockStart"]["start"]["toolUse"]
            for frame in self.frames
            if "toolUse" in frame.get("contentBlockStart", {}).get("start", {})
        ]


def _closing(stream: Any) -> Generator[Frame]:
    """The frames of a stream, which is closed however reading them ends."""
    try:
        yield from stream
    finally:
        stream.close()


class Stack:
    """`everloop dev` on a data directory and free ports of its own.

    With a `clock`, such as `+3d`, all of its processes have theirs shifted so.
    """

    def __init__(self, data_dir: Path, *, clock: str | None = None, **env: str) -> None:
        self.data_dir = data_dir
        self._clock = clock
        self._env = {**os.environ, "NO_COLOR": "1", "EVERLOOP_SHUTDOWN_S": "2", **env}
        self._log = data_dir.with_suffix(".dev.log")
        self._dev: subprocess.Popen[bytes] | None = None
        self._clients: list[Any] = []

    def start(self) -> "Stack":
        command = [sys.executable, "-m", "everloop.cli", "dev", "--port", "0", "--data-dir"]
        if self._clock is not None:
            command = [sys.executable, "-m", "tests.e2e.dev_on_another_day", self._clock]
        with self._log.open("ab") as log:
            self._dev = subprocess.Popen(
                [*command, str(self.data_dir)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._env,
            )
        wait_until(self._ready, within_s=90, what="everloop dev did not become ready")
        return self

    def _ready(self) -> bool:
        assert self._dev is not None
        if self._dev.poll() is not None:
            raise RuntimeError(f"everloop dev ended: {self._log.read_text()}")
        # What one that was killed has written still stands there.
        state = self.state()
        return state.get("pid") == self._dev.pid and state["phase"] == "ready"

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._dev is None:
            return
        self._dev.send_signal(signal.SIGTERM)
        try:
            self._dev.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._dev.kill()
            self._dev.wait()
            raise
        finally:
            self._dev = None

    def kill_everything(self) -> None:
        """Kill -9 the supervisor, which its processes do not survive, and the environments."""
        assert self._dev is not None
        pids = [each["pid"] for each in self.state()["processes"]]
        self._dev.kill()
        self._dev.wait()
        self._dev = None
        wait_until(lambda: not any(map(_lives, pids)), what="the processes live on")
        asyncio.run(Bubblewrap(self.data_dir).stop_orphans(()))

    def state(self) -> Frame:
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.data_dir / "dev.json").read_text())
        return {}

    def process(self, name: str) -> Frame:
        return next(p for p in self.state()["processes"] if p["name"] == name)

    def kill(self, name: str) -> None:
        """Kill a process with -9 and wait until the supervisor has noticed."""
        pid = self.process(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.process(name)["pid"] != pid, what=f"{name} was not noticed dead")

    def kill_environment(self, which: float, *, agentd: bool) -> bool:
        """Kill -9 an environment, or only the agentd in it.

        Args:
            which: of those that run, the one at this part of the list, from 0 to 1.
            agentd: whether its first process is left to find out.

        Returns:
            Whether one ran.
        """
        first = [
            pid
            for info in sorted((self.data_dir / "run" / "sandboxes").glob("*/*/info"))
            if _lives(pid := _first_process(info))
        ]
        if not first:
            return False
        pid = first[int(which * len(first))]
        children = Path(f"/proc/{pid}/task/{pid}/children")
        # It may have ended meanwhile, or not have come so far.
        with contextlib.suppress(OSError, IndexError):
            os.kill(int(children.read_text().split()[0]) if agentd else pid, signal.SIGKILL)
        return True

    def wait_ready(self, name: str) -> None:
        wait_until(
            lambda: self.process(name)["phase"] == "ready", within_s=60, what=f"{name} is not ready"
        )

    def everloop(self, *words: str, timeout_s: int = 60) -> subprocess.CompletedProcess[str]:
        """Run the `everloop` command for this Everloop."""
        env = {**os.environ, "NO_COLOR": "1"}
        where = ("--data-dir", str(self.data_dir))
        return run_everloop(*words, *where, env=env, timeout_s=timeout_s)

    @property
    def endpoint(self) -> str:
        return self.state()["addresses"]["api"]

    @property
    def temporal(self) -> str:
        return self.state()["addresses"]["temporal"]

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'everloop.db'}"

    def client(self, service: str, endpoint: str | None = None) -> Any:
        made = cast(Any, boto3).client(
            service,
            endpoint_url=endpoint or self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="everloop-dev",
            aws_secret_access_key="everloop-dev",
            config=Config(retries={"max_attempts": 0}, read_timeout=120),
        )
        self._clients.append(made)
        return made

    @property
    def control(self) -> Any:
        """A client that waits after each change until it has settled."""
        return settling(self.client("bedrock-agentcore-control"))

    @property
    def data(self) -> Any:
        return self.client("bedrock-agentcore")

    def harness(self, **members: Any) -> str:
        """Create a harness with the demo model, and wait until it is READY; its ARN."""
        members.setdefault("model", DEMO)
        created = self.control.create_harness(
            harnessName=f"h{uuid.uuid4().hex[:12]}", executionRoleArn=ROLE, **members
        )
        return created["harness"]["arn"]

    def open(
        self,
        arn: str,
        session: str,
        messages: Sequence[Frame],
        *,
        key: str | None = None,
        endpoint: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Generator[Frame]:
        """Send an invocation; the frames of its stream as they arrive."""
        client = self.client("bedrock-agentcore", endpoint)
        wanted = dict(headers or {})
        if key:
            wanted["x-everloop-invocation-id"] = key

        def add_headers(request: Any, **_: Any) -> None:
            for name, value in wanted.items():
                request.headers[name] = value

        client.meta.events.register("before-sign.bedrock-agentcore.InvokeHarness", add_headers)
        response = client.invoke_harness(
            harnessArn=arn, runtimeSessionId=session, messages=list(messages), **members
        )
        return _closing(response["stream"])

    def invoke(self, arn: str, session: str, messages: Sequence[Frame], **members: Any) -> Told:
        """Send an invocation and read its stream to the end."""
        return Told(list(self.open(arn, session, messages, **members)))

    def follow(
        self,
        arn: str,
        session: str,
        messages: Sequence[Frame],
        *,
        key: str,
        patience_s: float = 90,
    ) -> Told:
        """As a stubborn client: send again under the same key until a whole stream has come."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return self.invoke(arn, session, messages, key=key)
            except Exception as error:
                if time.monotonic() > deadline or "ValidationException" in str(error):
                    raise
                time.sleep(0.1)

    def volume_files(self, name: str) -> list[Path]:
        """Files of that name on any session's volume."""
        return sorted((self.data_dir / "volumes").glob(f"**/{name}"))
