"""Runs the calls of the sandbox's tools on the machine that owns the environments.

A call's intent is written before it is sent: a retry that finds the intent under another boot of
the environment knows that the call was under way when everything ended, and does not repeat it.
Under the same boot, agentd knows the call by its id and gives the running or finished one.

Within this process a call is run once, however many ask for it, and goes on when they leave: who
asks again joins it. It ends with its outcome, when it is cancelled, or when its turn is over.
"""

import asyncio
import logging

from activities.tools import file_operations, shell
from activities.tools.before_call import BeforeCalls, only_reads
from activities.tools.outcome import Outcome, SandboxCall
from activities.tools.schemas import FILE_OPERATIONS, SHELL
from activities.tracing import Traces
from contracts.environment import EnvironmentSpec, SharedMount
from contracts.errors import (
    AwsError,
    EnvironmentGone,
    EnvironmentRefused,
    EnvironmentUnavailable,
    EverloopError,
    ServiceError,
    StaleAttempt,
)
from contracts.harness import RunConfig
from contracts.messages import ToolStatus
from contracts.records import CallRecord
from contracts.tools import CallState
from environments.environment import Environment
from environments.host import SandboxHost
from store import Store

log = logging.getLogger(__name__)

#: Seconds that ending a cancelled command may take; agentd answers in a millisecond.
CANCEL_S = 5.0
#: Seconds between looks whether the turn of a running call is over.
LOOK_S = 1.0


class CallEnded(EverloopError):
    """A call was ended while somebody waited for its outcome."""


class CallRunner:
    """Runs `shell` and `file_operations`."""

    def __init__(
        self,
        store: Store,
        host: SandboxHost,
        traces: Traces | None = None,
        before: BeforeCalls | None = None,
    ) -> None:
        """Run nothing yet.

        Args:
            store: has the calls.
            host: owns this machine's environments.
            traces: where spans of calls go; nowhere when omitted.
            before: what is done before calls run, beside; nothing when omitted.
        """
        self._store = store
        self._host = host
        self._before = before
        self._traces = traces or Traces(store)
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._watches: set[asyncio.Task[None]] = set()

    async def finish(self, session: str, invocation_id: str, id: str) -> None:
        """See that a call has an outcome in the store; who is cancelled leaves it running.

        Whatever goes wrong with the tool or its environment is an outcome, for the model to read.

        Args:
            session: the session's key.
            invocation_id: the invocation that runs.
            id: the tool-call id.

        Raises:
            StaleAttempt: another host has taken the session over.
            CallEnded: the call was ended meanwhile.
        """
        key = (session, id)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._finish(session, invocation_id, id))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._over(key, done))
            watch = asyncio.create_task(self._watch(session, id, task))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)
        await asyncio.wait({task})
        if task.cancelled():
            raise CallEnded("the call was ended")
        task.result()

    async def end(self, session: str, id: str) -> None:
        """End a call that nobody wants any more, and keep it from running should it come later."""
        task = self._under_way.get((session, id))
        if task is not None:
            task.cancel()
        environment = self._host.running(session)
        if environment is None:
            return
        try:
            async with asyncio.timeout(CANCEL_S):
                await environment.cancel(id)
        except (EnvironmentGone, TimeoutError) as error:
            log.warning("a cancelled command could not be ended: %s", error)

    async def close(self) -> None:
        """Leave what runs to the next process."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._watches, return_exceptions=True)

    def _over(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            # Whoever asked may have left.
            task.exception()

    async def _watch(self, session: str, id: str, task: asyncio.Task[None]) -> None:
        """End a call whose turn was closed: nobody may be left who would cancel it."""
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            try:
                over = await self._has_outcome(session, id)
            except Exception:
                log.exception("whether a call is still wanted is not known; it goes on")
                continue
            if over and not task.done():
                await self.end(session, id)
                return

    async def _has_outcome(self, session: str, id: str) -> bool:
        try:
            return (await self._store.calls.get(session, id)).state is CallState.DONE
        except ServiceError as missing:
            if missing.detail.error is not AwsError.NOT_FOUND:
                raise
            # Deleted meanwhile.
            return True

    async def _finish(self, session: str, invocation_id: str, id: str) -> None:
        record = await self._store.calls.get(session, id)
        if record.state is CallState.DONE:
            return
        run = await self._store.turns.config(session, invocation_id)
        async with self._traces.tool(invocation_id, record, run) as span:
            outcome = await self._outcome(session, invocation_id, record, run)
            if outcome is None:
                span.ended_elsewhere()
            else:
                span.ended(outcome.status, outcome.text)
        if outcome is not None:
            await self._store.calls.finish(
                session, record.id, status=outcome.status, content=(outcome.text,)
            )
        if self._before is not None:
            self._before.end(session, invocation_id)

    async def _outcome(
        self, session: str, invocation_id: str, record: CallRecord, run: RunConfig
    ) -> Outcome | None:
        """The outcome of a call; None when it has got one meanwhile.

        Raises:
            StaleAttempt: another host has taken the session over.
        """
        spec = environment_spec(run)
        try:
            async with self._host.use(session, spec) as environment:
                if self._before is not None:
                    rules = run.config.extensions.snapshots
                    refused = await self._before.begin(session, invocation_id, record, rules)
                    if refused is not None:
                        return refused
                boot_id = environment.record.boot_id
                record = await self._store.calls.start(session, record.id, boot_id)
                if record.state is CallState.DONE:
                    return None
                if record.boot_id != boot_id and not only_reads(record):
                    await self._require_current(session, environment)
                    with_files = environment.files_lost_with is not None
                    return _lost(record, spec, with_files=with_files)
                # Its limits are those of the host, whatever was asked for.
                return await self._run(record, environment, environment.spec)
        except EnvironmentGone:
            return _lost(record, spec)
        except EnvironmentRefused as refusal:
            if refusal.code == "forgotten":
                return _lost(record, spec)
            return Outcome(ToolStatus.ERROR, f"Error: the call was not run: {refusal}")
        except EnvironmentUnavailable as unavailable:
            return Outcome(ToolStatus.ERROR, f"Error: the call was not run: {unavailable}")

    async def _require_current(self, session: str, environment: Environment) -> None:
        """See that no other host has begun the call in a later environment.

        Raises:
            StaleAttempt: another has the session; the call's outcome is its to find.
        """
        newest = await self._store.environments.get(session)
        if newest is not None and newest.host != environment.record.host:
            raise StaleAttempt("another sandbox host has the session's environment")

    async def _run(
        self, record: CallRecord, environment: Environment, spec: EnvironmentSpec
    ) -> Outcome:
        call = SandboxCall(record.id, record.input, environment, spec)
        if record.name == SHELL.name:
            return await shell.run_shell(call)
        if record.name == FILE_OPERATIONS.name:
            return await file_operations.run_file_operation(call)
        return Outcome(ToolStatus.ERROR, f"Error: there is no tool named {record.name}")


def environment_spec(run: RunConfig) -> EnvironmentSpec:
    """What a run asks of its session's environment."""
    environment = run.config.environment
    return EnvironmentSpec(
        mount=environment.session_mount,
        variables=environment.variables,
        idle_timeout_s=environment.lifecycle.idle_runtime_session_timeout,
        max_lifetime_s=environment.lifecycle.max_lifetime,
        shares=tuple(
            SharedMount(share.access_point_arn or "", share.mount_path)
            for share in environment.shares
        ),
        image=environment.container_uri,
        subnets=environment.network.subnets,
        egress=run.config.extensions.egress,
    )


def _lost(record: CallRecord, spec: EnvironmentSpec, *, with_files: bool = False) -> Outcome:
    if record.name == FILE_OPERATIONS.name:
        return file_operations.lost(spec.mount, with_files=with_files)
    return shell.lost(spec.mount, with_files=with_files)
