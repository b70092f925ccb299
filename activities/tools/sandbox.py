"""The activities of the machine that owns a session's environment: run a tool call, drop it all."""

import asyncio

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.context import heartbeats, session_key
from activities.tools.runner import CallRunner
from contracts.errors import ErrorType, StaleAttempt
from contracts.turn import Activity, DropEnvironment, ToolCall
from environments.host import SandboxHost


class SandboxTools:
    """What Temporal asks of a sandbox host."""

    def __init__(self, runner: CallRunner, host: SandboxHost) -> None:
        """Prepare to be asked.

        Args:
            runner: runs calls.
            host: owns this machine's environments.
        """
        self._runner = runner
        self._host = host

    @activity.defn(name=Activity.RUN_TOOL)
    async def run_tool(self, call: ToolCall) -> None:
        """See that a call has an outcome in the store.

        Only a failure of the store fails the activity, and is retried.

        Raises:
            ApplicationError: `ErrorType.ELSEWHERE`, another host has taken the session over.
        """
        session = session_key()
        try:
            async with heartbeats():
                await self._runner.finish(session, call.invocation_id, call.tool_use_id)
        except StaleAttempt:
            raise ApplicationError(
                "another sandbox host has taken the session over",
                type=ErrorType.ELSEWHERE,
                non_retryable=True,
            ) from None
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            # A worker that shuts down, or whose heartbeats came late, is no reason to end a
            # command: the retry joins it.
            if details is not None and details.cancel_requested:
                await asyncio.shield(self._runner.end(session, call.tool_use_id))
            raise

    @activity.defn(name=Activity.DROP_ENVIRONMENT)
    async def drop_environment(self, drop: DropEnvironment) -> None:
        """End a session's environment and delete its files and its record. Idempotent."""
        async with heartbeats():
            await self._host.delete(drop.session)
