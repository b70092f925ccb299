"""A running environment in the hands of a caller."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from contracts.environment import (
    CommandEnd,
    CommandResult,
    EnvironmentRecord,
    EnvironmentSpec,
    EnvironmentState,
    OutputPiece,
)
from contracts.errors import EnvironmentGone, EnvironmentRefused
from environments.channel import AgentChannel, ShellAnswer, Streams
from environments.disk import WRITE_NOTHING
from environments.provider import EnvironmentProvider, Liveness

#: Pauses before a broken call is made again. When they are used up, an environment that runs and
#: does not answer as it must is ended: a command may have stopped agentd, or speak in its place.
RETRY_PAUSES_S = (0.02, 0.1, 0.3, 0.6, 1.0)

log = logging.getLogger(__name__)

#: `file_operations` that write nothing.
READING = "view"

_Result = TypeVar("_Result")


class _Owner(Protocol):
    async def end(self, record: EnvironmentRecord) -> None: ...


class Environment:
    """Calls into one boot of a session's environment.

    Every call is keyed, so that one whose connection breaks is made again and joins what it began.
    """

    def __init__(
        self,
        owner: _Owner,
        provider: EnvironmentProvider,
        record: EnvironmentRecord,
        *,
        restarted: bool,
        spec: EnvironmentSpec | None = None,
        before: EnvironmentRecord | None = None,
    ) -> None:
        """Hold a running environment.

        Args:
            owner: ends it when it has to be ended.
            provider: its kind.
            record: which it is.
            restarted: whether an earlier one of the session had ended before this was started.
            spec: how it was asked for.
            before: the session's record when this was asked for, which tells of its files.
        """
        self._owner = owner
        self._provider = provider
        self.record = record
        self.restarted = restarted
        state = before.state if before else None
        #: Whether the session's files had been removed before this was started.
        self.expired = state is EnvironmentState.EXPIRED
        self.spec = spec or EnvironmentSpec()
        #: What the model is told when the session's files take more than they may.
        self.full_note: str | None = None
        #: Whether the session's files were put back to a snapshot before this was started.
        self.restored = state is EnvironmentState.RESTORED
        #: Whether the session is a fork that begins with a copy of another session's files.
        self.forked = state is EnvironmentState.FORKED
        #: The dead host that has the session's files, when this began without them.
        self.files_lost_with: str | None = None
        if before is not None and state is EnvironmentState.FILES_LOST:
            self.files_lost_with = str(before.reference.get("host", before.host))
        self._commands: dict[str, bool] = {}

    async def exec(
        self,
        id: str,
        command: str,
        *,
        timeout_s: int,
        output_bytes: int,
        variables: Mapping[str, str],
    ) -> CommandResult:
        """Run a command, or join the one with this id. See `AgentChannel.exec`.

        Raises:
            EnvironmentGone: the environment ended under it; its outcome is unknown.
            EnvironmentRefused: it was not run.
        """
        command = self._bounded(command)
        return await self._watched(
            id,
            lambda channel: channel.exec(
                id,
                command,
                timeout_s=timeout_s,
                output_bytes=output_bytes,
                variables=variables,
            ),
        )

    async def end_writers(self) -> None:
        """End the commands that run by way of this, because the session's files take too much."""
        for id in list(self._commands):
            self._commands[id] = True
            try:
                await self.cancel(id)
            except EnvironmentGone:
                log.warning("the environment of %s ended", self.record.session)

    async def file(self, id: str, arguments: Mapping[str, Any]) -> str:
        """Do a `file_operations` call, once for its id. See `AgentChannel.file`.

        Raises:
            EnvironmentGone: the environment ended under it; its outcome is unknown.
            EnvironmentRefused: it was not done; the session's files take too much, or other.
        """
        if self.full_note is not None and arguments.get("command") != READING:
            raise EnvironmentRefused("disk_full", self.full_note)
        return await self._call(lambda channel: channel.file(id, arguments))

    async def cancel(self, id: str) -> None:
        """End a command, and keep it from running should it come later.

        Raises:
            EnvironmentGone: the environment ended, and the command with it.
        """
        await self._call(lambda channel: channel.cancel(id))

    async def start(
        self,
        id: str,
        command: str,
        *,
        timeout_s: int,
        output_bytes: int,
        variables: Mapping[str, str],
    ) -> None:
        """Run a command whose output can be followed. See `AgentChannel.start`.

        Raises:
            EnvironmentGone: the environment ended; whether the command began is unknown.
            EnvironmentRefused: it was not run.
        """
        command = self._bounded(command)
        await self._call(
            lambda channel: channel.start(
                id,
                command,
                timeout_s=timeout_s,
                output_bytes=output_bytes,
                variables=variables,
            )
        )

    async def attach(self, id: str, *, timeout_s: int) -> CommandResult:
        """Wait for a command that was begun. See `AgentChannel.attach`.

        Raises:
            EnvironmentGone: the environment ended under it; its outcome is unknown.
            EnvironmentRefused: its result is not known.
        """
        return await self._watched(id, lambda channel: channel.attach(id, timeout_s=timeout_s))

    async def follow(
        self, id: str, *, stdout_from: int, stderr_from: int, wait_s: int
    ) -> OutputPiece:
        """Output of a command. See `AgentChannel.follow`.

        Raises:
            EnvironmentGone: the environment ended under it; its outcome is unknown.
            EnvironmentRefused: no output of it is kept.
        """
        return await self._call(
            lambda channel: channel.follow(
                id, stdout_from=stdout_from, stderr_from=stderr_from, wait_s=wait_s
            )
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
        """Attach to an interactive shell. See `AgentChannel.shell`.

        Raises:
            EnvironmentGone: the environment ended.
            EnvironmentRefused: there is no such shell, or there are too many.
        """
        return await self._call(
            lambda channel: channel.shell(
                id,
                columns=columns,
                rows=rows,
                resume=resume,
                after=after,
                variables=variables,
            )
        )

    def _bounded(self, command: str) -> str:
        """A command as it runs: without the right to write when the session's files are full."""
        return command if self.full_note is None else WRITE_NOTHING + command

    async def _watched(
        self, id: str, call: Callable[[AgentChannel], Awaitable[CommandResult]]
    ) -> CommandResult:
        """Wait for a command that `end_writers` may end meanwhile."""
        self._commands[id] = False
        try:
            result = await self._call(call)
        finally:
            ended = self._commands.pop(id)
        if ended and result.end is CommandEnd.CANCELLED:
            return replace(result, end=CommandEnd.OUT_OF_DISK)
        return result

    async def _call(self, call: Callable[[AgentChannel], Awaitable[_Result]]) -> _Result:
        channel = self._provider.connect(self.record.reference)
        for pause in RETRY_PAUSES_S:
            try:
                return await call(channel)
            except (ConnectionRefusedError, TimeoutError):
                # Nobody listens any more, or agentd hangs: waiting longer helps neither.
                break
            except ConnectionError:
                if await self._provider.status(self.record.reference) is Liveness.GONE:
                    break
            await asyncio.sleep(pause)
        await self._owner.end(self.record)
        raise EnvironmentGone("the environment ended")
