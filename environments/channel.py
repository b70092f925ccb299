"""The host's side of agentd's protocol (`agentd.py` documents it).

agentd runs among commands that a model wrote, so nothing it says is trusted: lines are bounded and
every field is checked. Whatever breaks the protocol is a `ConnectionError`, as is a connection that
ends early; whether the environment is gone is for the provider to say.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.environment import CommandEnd, CommandResult
from contracts.errors import EnvironmentRefused

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]

#: One answer: 256 KiB of output, of which JSON makes at most six bytes for one, and some.
ANSWER_BYTES = 4 * 1024**2
#: Seconds that agentd may take for what needs no waiting; it answers within one on a busy machine.
QUICK_S = 15.0
#: Seconds beyond a command's own time-out: 2 from TERM to KILL, the rest for a busy machine.
COMMAND_GRACE_S = 20.0
#: 128 and SIGKILL: the exit code of a command that the kernel ended, by bash's custom.
KILLED = 137


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class AgentInfo(_Answer):
    """Who answers, and how busy it is."""

    boot_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    uptime_s: float
    #: Seconds since the last call, or since the last process was seen.
    idle_s: float
    #: Commands that have not ended.
    running: int
    #: Processes of commands, those in the background included.
    processes: int


class _Ended(_Answer):
    end: str
    exit_code: int | None
    stdout: str
    stderr: str
    left_out_bytes: int = Field(ge=0)
    output_file: str | None
    background: bool


class _FileText(_Answer):
    text: str


_Shape = TypeVar("_Shape", bound=_Answer)


class AgentChannel:
    """Calls into one environment; safe for concurrent use, holds no connection between calls."""

    def __init__(self, connect: Connect, *, memory_kills: Callable[[], int] = lambda: 0) -> None:
        """Hold no connection.

        Args:
            connect: opens a stream to agentd, with a reader whose limit is ANSWER_BYTES.
            memory_kills: counts what the kernel has ended in the environment for want of memory.
        """
        self._connect = connect
        self._memory_kills = memory_kills

    async def info(self) -> AgentInfo:
        """Ask who answers and how busy it is."""
        return _read(AgentInfo, await self._ask({"op": "info"}, QUICK_S))

    async def exec(
        self,
        id: str,
        command: str,
        *,
        timeout_s: int,
        output_bytes: int,
        variables: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> CommandResult:
        """Run a command, or join the one with this id; waits until it has ended.

        Args:
            id: the key under which it runs at most once, `[a-zA-Z0-9_-]{1,64}`.
            command: for `bash -c`.
            timeout_s: seconds until it is ended with what it wrote so far.
            output_bytes: how much of its output the result carries.
            variables: environment variables beside those every command has.
            cwd: where it starts; the mount when None.

        Raises:
            EnvironmentRefused: it was not run.
            ConnectionError: the connection broke; the command may run, and can be joined again.
            TimeoutError: agentd does not answer.
        """
        request = {
            "op": "exec",
            "id": id,
            "command": command,
            "timeout_s": timeout_s,
            "output_bytes": output_bytes,
            "env": dict(variables or {}),
            "cwd": cwd,
        }
        kills = self._memory_kills()
        ended = _read(_Ended, await self._ask(request, timeout_s + COMMAND_GRACE_S))
        try:
            end = CommandEnd(ended.end)
        except ValueError:
            raise ConnectionError("agentd gave an unknown end of a command") from None
        if end is CommandEnd.EXITED and ended.exit_code == KILLED and self._memory_kills() > kills:
            end = CommandEnd.OUT_OF_MEMORY
        return CommandResult(
            end=end,
            exit_code=ended.exit_code,
            stdout=ended.stdout,
            stderr=ended.stderr,
            left_out_bytes=ended.left_out_bytes,
            output_file=ended.output_file,
            background=ended.background,
        )

    async def file(self, id: str, arguments: Mapping[str, Any]) -> str:
        """Do a `file_operations` call, once for its id.

        Args:
            id: the key.
            arguments: the tool's own.

        Returns:
            The tool's text, which starts with `Error: ` when it could not be done.

        Raises:
            EnvironmentRefused: the arguments are not what they must be.
            ConnectionError: the connection broke; the call can be made again.
            TimeoutError: agentd does not answer.
        """
        answer = await self._ask({**arguments, "op": "file", "id": id}, QUICK_S)
        return _read(_FileText, answer).text

    async def cancel(self, id: str) -> None:
        """End a command, and keep it from running should it come later."""
        await self._ask({"op": "cancel", "id": id}, QUICK_S)

    async def shutdown(self, grace_s: int) -> None:
        """Ask every process to end, and the environment with them after `grace_s` at most."""
        await self._ask({"op": "shutdown", "grace_s": grace_s}, QUICK_S)

    async def _ask(self, request: Mapping[str, Any], wait_s: float) -> object:
        try:
            async with asyncio.timeout(wait_s):
                line = await self._exchange(json.dumps(request).encode() + b"\n")
        except TimeoutError:
            raise TimeoutError(f"agentd did not answer within {wait_s} s") from None
        return _result(line)

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await self._connect()
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionError(f"agentd's answer did not come whole: {error}") from None
        finally:
            writer.transport.abort()


def _result(line: bytes) -> object:
    try:
        answer: object = json.loads(line)
    except (ValueError, RecursionError):
        raise ConnectionError("agentd's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ConnectionError("agentd's answer is not an object")
    values = cast(dict[object, object], answer)
    if values.get("ok") is True:
        return values.get("result")
    raise EnvironmentRefused(str(values.get("error"))[:64], str(values.get("message"))[:1024])


def _read(shape: type[_Shape], result: object) -> _Shape:
    try:
        return shape.model_validate(result)
    except ValidationError as error:
        raise ConnectionError(
            f"agentd's answer is not as it must be: {error.error_count()} fields"
        ) from None
