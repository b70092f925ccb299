"""The host's side of agentd's protocol (`agentd.py` documents it).

agentd runs among commands that a model wrote, so nothing it says is trusted: lines are bounded and
every field is checked. Whatever breaks the protocol is a `ConnectionError`, as is a connection that
ends early; whether the environment is gone is for the provider to say.
"""

import asyncio
import binascii
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.environment import CommandEnd, CommandResult, OutputPiece
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


class _Piece(_Answer):
    stdout_at: int = Field(ge=0)
    stdout: str
    stderr_at: int = Field(ge=0)
    stderr: str
    ended: bool


class ShellAnswer(_Answer):
    """A shell that a connection now shows."""

    #: Whether it was started just now.
    new: bool
    #: The offset of the output that follows, counted from the shell's start.
    at: int = Field(ge=0)


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
        request = _command(id, command, timeout_s, output_bytes, variables, cwd)
        kills = self._memory_kills()
        answer = await self._ask({"op": "exec", **request}, timeout_s + COMMAND_GRACE_S)
        return await self._explained(id, _ended(answer), kills)

    async def start(
        self,
        id: str,
        command: str,
        *,
        timeout_s: int,
        output_bytes: int,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command whose output can be followed, unless its id is known; does not wait.

        The arguments and errors are those of `exec`.
        """
        request = _command(id, command, timeout_s, output_bytes, variables, None)
        await self._ask({"op": "start", **request}, QUICK_S)

    async def attach(self, id: str, *, timeout_s: int) -> CommandResult:
        """Wait for a command that was begun; `timeout_s` is the command's own.

        Raises:
            EnvironmentRefused: agentd does not know the id, or has dropped its result.
            ConnectionError, TimeoutError: as `exec`.
        """
        kills = self._memory_kills()
        answer = await self._ask({"op": "attach", "id": id}, timeout_s + COMMAND_GRACE_S)
        return await self._explained(id, _ended(answer), kills)

    async def _explained(self, id: str, result: CommandResult, kills: int) -> CommandResult:
        """The kernel does not tell a command why it was killed; the control group's count does.

        The kernel takes one process. What the command left beside it ends with it, as when the
        watchdog ends a command.
        """
        killed = result.end is CommandEnd.EXITED and result.exit_code == KILLED
        if not killed or self._memory_kills() <= kills:
            return result
        if result.background:
            # An agentd of an earlier release, which runs on, does not know this.
            with contextlib.suppress(EnvironmentRefused):
                await self._ask({"op": "end_left", "id": id}, QUICK_S)
        return replace(result, end=CommandEnd.OUT_OF_MEMORY, background=False)

    async def follow(
        self, id: str, *, stdout_from: int, stderr_from: int, wait_s: int
    ) -> OutputPiece:
        """Output of a command that was begun by `start`, past two offsets.

        Args:
            id: the command's key.
            stdout_from: bytes of stdout that the caller has.
            stderr_from: bytes of stderr that the caller has.
            wait_s: seconds until an empty answer is given.

        Raises:
            EnvironmentRefused: no output of it is kept.
            ConnectionError, TimeoutError: as `exec`.
        """
        request = {"op": "follow", "id": id, "stdout_from": stdout_from}
        request |= {"stderr_from": stderr_from, "wait_s": wait_s}
        piece = _read(_Piece, await self._ask(request, wait_s + QUICK_S))
        return OutputPiece(
            stdout_at=piece.stdout_at,
            stdout=_bytes(piece.stdout),
            stderr_at=piece.stderr_at,
            stderr=_bytes(piece.stderr),
            ended=piece.ended,
        )

    async def shell(
        self,
        id: str,
        *,
        columns: int,
        rows: int,
        resume: bool,
        after: int | None,
        variables: Mapping[str, str],
    ) -> tuple[ShellAnswer, Streams]:
        """Attach to an interactive shell.

        Args:
            id: its key; another connection that shows it is told and closed.
            columns: of the terminal.
            rows: of the terminal.
            resume: whether a shell must be there, so that none is started.
            after: bytes of its output that the caller has; None for none.
            variables: of its environment, beside those every command has.

        Returns:
            Which shell it is, and streams of the frames that `agentd_shells` describes. The caller
            closes the writer.

        Raises:
            EnvironmentRefused: there is no such shell, or there are too many.
            ConnectionError, TimeoutError: as `exec`.
        """
        request = {"op": "shell", "id": id, "columns": columns, "rows": rows, "resume": resume}
        request |= {"after": after, "env": dict(variables)}
        answer, streams = await self._keep(request)
        try:
            return _read(ShellAnswer, answer), streams
        except BaseException:
            streams[1].transport.abort()
            raise

    async def egress(self) -> Streams:
        """Take the stream by which an environment's connections come to the egress proxy.

        Returns:
            Streams of the frames that `agentd_lanes` describes. The caller closes the writer.

        Raises:
            EnvironmentRefused: the environment has no such stream.
            ConnectionError, TimeoutError: as `exec`.
        """
        return (await self._keep({"op": "egress"}))[1]

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

    async def _keep(self, request: Mapping[str, Any]) -> tuple[object, Streams]:
        """Ask, and keep the connection: the answer, and the streams that follow it."""
        async with asyncio.timeout(QUICK_S):
            streams = await self._connect()
            try:
                line = await _request(streams, json.dumps(request).encode() + b"\n")
                return _result(line), streams
            except BaseException:
                streams[1].transport.abort()
                raise

    async def _exchange(self, line: bytes) -> bytes:
        streams = await self._connect()
        try:
            return await _request(streams, line)
        finally:
            streams[1].transport.abort()


async def _request(streams: Streams, line: bytes) -> bytes:
    reader, writer = streams
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError(f"agentd's answer did not come whole: {error}") from None


def _command(
    id: str,
    command: str,
    timeout_s: int,
    output_bytes: int,
    variables: Mapping[str, str] | None,
    cwd: str | None,
) -> dict[str, Any]:
    return {
        "id": id,
        "command": command,
        "timeout_s": timeout_s,
        "output_bytes": output_bytes,
        "env": dict(variables or {}),
        "cwd": cwd,
    }


def _ended(answer: object) -> CommandResult:
    ended = _read(_Ended, answer)
    try:
        end = CommandEnd(ended.end)
    except ValueError:
        raise ConnectionError("agentd gave an unknown end of a command") from None
    return CommandResult(
        end=end,
        exit_code=ended.exit_code,
        stdout=ended.stdout,
        stderr=ended.stderr,
        left_out_bytes=ended.left_out_bytes,
        output_file=ended.output_file,
        background=ended.background,
    )


def _bytes(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise ConnectionError("agentd's output is not base64") from None


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
