"""Commands beside turns, on the host that has the session's environment.

In order: note under which boot of the environment the command runs, send it, keep what came of it.
A command is driven to its end whether or not somebody follows it, and taken up again by the next
host process. It is never sent to a second boot: then its outcome is unknown, and says so.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from contracts.commands import CommandRecord, CommandState
from contracts.environment import (
    CommandEnd,
    CommandResult,
    EnvironmentSpec,
    EnvironmentState,
    OutputPiece,
)
from contracts.errors import EnvironmentGone, EnvironmentRefused
from contracts.harness import RunConfig
from contracts.ids import command_key
from environments.environment import Environment
from environments.host import SandboxHost
from store import Store

#: Seconds of silence after which a follower hears that the command still runs.
SILENCE_S = 15
#: Seconds that commands have to end when their session is stopped: TERM, 2 s, KILL, and room.
STOP_S = 5.0

SpecOf = Callable[[RunConfig], EnvironmentSpec]


@dataclass(frozen=True)
class Ended:
    """The last thing that a follower is told.

    Attributes:
        result: what came of the command.
        told: whether its output was told before; else what is known of it is in the result.
    """

    result: CommandResult
    told: bool


@dataclass
class _Drive:
    """A command on its way to its end."""

    record: CommandRecord
    #: The environment that it was sent to; an error when it was not.
    sent: asyncio.Future[Environment]
    task: asyncio.Task[CommandResult] = field(init=False)


class Commands:
    """The commands of the sessions of one host."""

    def __init__(self, store: Store, host: SandboxHost, spec_of: SpecOf) -> None:
        """Drive nothing yet.

        Args:
            store: has the commands.
            host: owns the environments.
            spec_of: what a run asks of its session's environment.
        """
        self._store = store
        self._host = host
        self._spec_of = spec_of
        self._drives: dict[tuple[str, str], _Drive] = {}
        self._stopping: set[str] = set()

    async def spec(self, config_digest: str) -> EnvironmentSpec:
        """What a session's environment must be for a configuration."""
        return self._spec_of(await self._store.configs.get(config_digest))

    async def resume(self) -> None:
        """Take up the commands that an earlier process of this host had begun."""
        for record in await self._store.commands.unfinished(self._host.name):
            environment = await self._store.environments.get(record.session)
            if (
                environment is not None
                and environment.state is EnvironmentState.RUNNING
                and environment.boot_id == record.boot_id
            ):
                self._drive(record)
            else:
                await self._store.commands.finish(record.session, record.id, _LOST)

    async def close(self) -> None:
        """Let go of all commands; they run on in their environments."""
        tasks = [drive.task for drive in self._drives.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(
        self, session: str, id: str, *, stdout_from: int, stderr_from: int
    ) -> AsyncGenerator[OutputPiece | Ended | None]:
        """Run a command that was admitted, or join it, and tell its output past two offsets.

        Yields:
            None once the command was sent, and after each silence; pieces; the end.

        Raises:
            EnvironmentUnavailable: no environment can be had; the command was not run.
            EnvironmentRefused: the environment did not take it; it was not run.
            ServiceError: ResourceNotFoundException.
        """
        record = await self._store.commands.get(session, id)
        if record.state is CommandState.DONE and record.result is not None:
            environment = self._host.running(session)
            if environment is not None and environment.record.boot_id != record.boot_id:
                environment = None
            drive = None
        else:
            drive = self._drive(record)
            environment = await asyncio.shield(drive.sent)
        yield None
        told = False
        if environment is not None:
            pieces = _pieces(environment, command_key(id), stdout_from, stderr_from)
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    told = piece is not None and piece.ended
                    yield piece
        result = await asyncio.shield(drive.task) if drive else record.result
        assert result is not None
        yield Ended(result, told)

    async def stop(self, session: str, generation: int) -> None:
        """Stop a session's environment, if it still is of this generation; its files stay.

        Commands that run in it end first, with what they wrote so far.
        """
        environment = self._host.running(session)
        if environment is None or environment.record.generation != generation:
            await self._host.stop(session, generation=generation)
            return
        self._stopping.add(session)
        try:
            drives = [drive for key, drive in self._drives.items() if key[0] == session]
            for drive in drives:
                with contextlib.suppress(EnvironmentGone, EnvironmentRefused):
                    await environment.cancel(command_key(drive.record.id))
            if drives:
                await asyncio.wait([drive.task for drive in drives], timeout=STOP_S)
            await self._host.stop(session, generation=generation)
        finally:
            self._stopping.discard(session)

    def _drive(self, record: CommandRecord) -> _Drive:
        key = (record.session, record.id)
        drive = self._drives.get(key)
        if drive is None:
            drive = _Drive(record, asyncio.get_running_loop().create_future())
            drive.task = asyncio.create_task(self._run(drive))
            drive.task.add_done_callback(lambda task: self._over(key, task))
            self._drives[key] = drive
        return drive

    def _over(self, key: tuple[str, str], task: asyncio.Task[CommandResult]) -> None:
        drive = self._drives.pop(key)
        error = None if task.cancelled() else task.exception()
        if not drive.sent.done():
            if error is None:
                drive.sent.cancel()
            else:
                drive.sent.set_exception(error)
                # Whoever followed it may have left.
                drive.sent.exception()

    async def _run(self, drive: _Drive) -> CommandResult:
        record = drive.record
        spec = await self.spec(record.config_digest)
        async with self._host.use(record.session, spec) as environment:
            boot_id = environment.record.boot_id
            record = await self._store.commands.start(record.session, record.id, boot_id)
            if record.result is not None:
                result = record.result
                drive.sent.set_result(environment)
            elif record.boot_id != boot_id:
                drive.sent.set_result(environment)
                result = _LOST
            else:
                result = await self._outcome(drive, environment, spec)
        return await self._store.commands.finish(record.session, record.id, result)

    async def _outcome(
        self, drive: _Drive, environment: Environment, spec: EnvironmentSpec
    ) -> CommandResult:
        record, key = drive.record, command_key(drive.record.id)
        try:
            await environment.start(
                key,
                record.command,
                timeout_s=record.timeout_s,
                output_bytes=spec.limits.output_bytes,
                variables=spec.variables,
            )
            drive.sent.set_result(environment)
            return await environment.attach(key, timeout_s=record.timeout_s)
        except EnvironmentRefused as refusal:
            if drive.sent.done() or refusal.code == "forgotten":
                return _LOST
            await self._store.commands.take_back(record.session, record.id)
            raise
        except EnvironmentGone:
            if not drive.sent.done():
                drive.sent.set_result(environment)
            return _STOPPED if record.session in self._stopping else _LOST


async def _pieces(
    environment: Environment, key: str, stdout_from: int, stderr_from: int
) -> AsyncGenerator[OutputPiece | None]:
    """Pieces of output until all is told or the environment does not tell more."""
    with contextlib.suppress(EnvironmentGone, EnvironmentRefused):
        while True:
            piece = await environment.follow(
                key, stdout_from=stdout_from, stderr_from=stderr_from, wait_s=SILENCE_S
            )
            stdout_from = piece.stdout_at + len(piece.stdout)
            stderr_from = piece.stderr_at + len(piece.stderr)
            if piece.stdout or piece.stderr or piece.ended:
                yield piece
            else:
                yield None
            if piece.ended:
                return


_LOST = CommandResult(CommandEnd.LOST, None)
_STOPPED = CommandResult(CommandEnd.CANCELLED, None)
