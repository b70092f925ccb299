"""The activities of the machine that owns a session's environment: run a tool call, drop it all.

A call's intent is written before it is sent: a retry that finds the intent under another boot of
the environment knows that the call was under way when everything ended, and does not repeat it.
Under the same boot, agentd knows the call by its id and gives the running or finished one.
"""

import asyncio
import logging

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.context import heartbeats, session_key
from activities.tools import file_operations, shell
from activities.tools.before_call import BeforeCalls, only_reads
from activities.tools.outcome import Outcome, SandboxCall
from activities.tools.schemas import FILE_OPERATIONS, SHELL
from activities.tracing import Traces
from contracts.environment import EnvironmentSpec, SharedMount
from contracts.errors import (
    EnvironmentGone,
    EnvironmentRefused,
    EnvironmentUnavailable,
    ErrorType,
    StaleAttempt,
)
from contracts.harness import RunConfig
from contracts.messages import ToolStatus
from contracts.records import CallRecord
from contracts.tools import CallState
from contracts.turn import Activity, DropEnvironment, ToolCall
from environments.environment import Environment
from environments.host import SandboxHost
from store import Store

log = logging.getLogger(__name__)

#: Seconds that ending a cancelled command may take; agentd answers in a millisecond.
CANCEL_S = 5.0


class SandboxTools:
    """Runs `shell` and `file_operations`."""

    def __init__(
        self,
        store: Store,
        host: SandboxHost,
        traces: Traces | None = None,
        before: BeforeCalls | None = None,
    ) -> None:
        """Prepare to run calls.

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

    @activity.defn(name=Activity.RUN_TOOL)
    async def run_tool(self, call: ToolCall) -> None:
        """See that a call has an outcome in the store.

        Whatever goes wrong with the tool or its environment is an outcome, for the model to read;
        only a failure of the store fails the activity, and is retried.

        Raises:
            ApplicationError: `ErrorType.ELSEWHERE`, another host has taken the session over.
        """
        session = session_key()
        async with heartbeats():
            record = await self._store.calls.get(session, call.tool_use_id)
            if record.state is CallState.DONE:
                return
            run = await self._store.turns.config(session, call.invocation_id)
            async with self._traces.tool(call.invocation_id, record, run) as span:
                outcome = await self._outcome(session, call, record, run)
                if outcome is None:
                    span.ended_elsewhere()
                else:
                    span.ended(outcome.status, outcome.text)
            if outcome is not None:
                await self._store.calls.finish(
                    session, record.id, status=outcome.status, content=(outcome.text,)
                )
            if self._before is not None:
                self._before.end(session, call.invocation_id)

    @activity.defn(name=Activity.DROP_ENVIRONMENT)
    async def drop_environment(self, drop: DropEnvironment) -> None:
        """End a session's environment and delete its files and its record. Idempotent."""
        async with heartbeats():
            await self._host.delete(drop.session)

    async def _outcome(
        self, session: str, call: ToolCall, record: CallRecord, run: RunConfig
    ) -> Outcome | None:
        """The outcome of a call; None when it has got one meanwhile."""
        spec = environment_spec(run)
        try:
            async with self._host.use(session, spec) as environment:
                if self._before is not None:
                    rules = run.config.extensions.snapshots
                    refused = await self._before.begin(session, call.invocation_id, record, rules)
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
        except StaleAttempt:
            raise ApplicationError(
                "another sandbox host has taken the session over",
                type=ErrorType.ELSEWHERE,
                non_retryable=True,
            ) from None
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
        try:
            if record.name == SHELL.name:
                return await shell.run_shell(call)
            if record.name == FILE_OPERATIONS.name:
                return await file_operations.run_file_operation(call)
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            # A worker that shuts down, or whose heartbeats came late, is no reason to end a
            # command: the retry joins it.
            if details is not None and details.cancel_requested:
                await asyncio.shield(_cancel(record.id, environment))
            raise
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


async def _cancel(id: str, environment: Environment) -> None:
    try:
        async with asyncio.timeout(CANCEL_S):
            await environment.cancel(id)
    except (EnvironmentGone, TimeoutError) as error:
        log.warning("a cancelled command could not be ended: %s", error)
