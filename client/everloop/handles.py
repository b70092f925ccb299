"""What a program holds of runs that go without it."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import TerminatedError

from everloop.errors import HarnessRefused, error_of
from everloop.mailbox import QUERY_STANDING, MailboxStanding
from everloop.output import OutputType
from everloop.results import HarnessResult, result_of
from everloop.runs import HarnessOutcome

T = TypeVar("T")

#: Seconds between two looks at something that waits for its turn.
LOOK_S = 0.1


class RunHandle(Generic[T]):
    """A run that was started. It goes on whether anybody holds its handle or not."""

    def __init__(
        self, handle: WorkflowHandle[Any, HarnessOutcome], wanted: OutputType[T] | None
    ) -> None:
        """Wrap the handle of a `RunHarness` workflow."""
        self._handle = handle
        self._wanted = wanted

    @property
    def id(self) -> str:
        """The run's id, which is its workflow's."""
        return self._handle.id

    async def result(self) -> HarnessResult[T]:
        """Wait for the end.

        Raises:
            HarnessError: the run failed, see its subclasses.
            WorkflowFailureError: it was cancelled or terminated.
        """
        try:
            outcome = await self._handle.result()
        except WorkflowFailureError as failed:
            error = error_of(failed.cause)
            if error is None:
                raise
            raise error from failed
        return result_of(outcome, self._wanted)

    async def cancel(self) -> None:
        """Ask the run to end: its turn is interrupted, what waits for people is withdrawn."""
        await self._handle.cancel()


class SentState(StrEnum):
    """How something that was sent stands."""

    #: It waits in the mailbox, or its worker has not looked yet.
    QUEUED = "queued"
    #: Its run goes; people may be waited for.
    RUNNING = "running"
    #: Its run has a result.
    DONE = "done"
    #: Its run has none: it failed, was refused by the harness, cancelled or terminated.
    FAILED = "failed"
    #: The mailbox did not take it.
    REFUSED = "refused"
    #: It will not run: the mailbox was cancelled, terminated, or deleted with its session. A run
    #: that ended so long ago that Temporal has forgotten it looks the same.
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class SentStanding:
    """How something that was sent stands.

    Attributes:
        state: how.
        reason: why it was refused.
    """

    state: SentState
    reason: str | None = None


class SentRun:
    """Something that was sent to a session, for who wants to look after it.

    Attributes:
        key: names it in its session.
        run: its run, once the mailbox has come to it: cancelling it lets the next one run.
    """

    def __init__(
        self,
        key: str,
        client: Client,
        signalled: WorkflowHandle[Any, Any],
        run: RunHandle[Any],
    ) -> None:
        """Remember which run of the mailbox took it."""
        self.key = key
        self.run = run
        self._client = client
        self._signalled = signalled

    async def standing(self) -> SentStanding:
        """How it stands now.

        Raises:
            RPCError: Temporal, or a worker of Everloop's, does not answer.
        """
        told = await self._ask(self._signalled.result_run_id)
        if (reason := self._why_not(told)) is not None:
            return SentStanding(SentState.REFUSED, reason)
        if (state := await self._state_of_run()) is not None:
            return SentStanding(state)
        goes_on = await self._status(self._signalled.id) is WorkflowExecutionStatus.RUNNING
        if goes_on:
            told = await self._ask(None)
            if told.arrived or self.key in (told.running, *told.queued):
                return SentStanding(SentState.QUEUED)
        # It may have run to its end in between.
        if (state := await self._state_of_run()) is not None:
            return SentStanding(state)
        if goes_on:
            reason = self._why_not(told) or "with so many others that it is not kept why"
            return SentStanding(SentState.REFUSED, reason)
        return SentStanding(SentState.GIVEN_UP)

    async def result(self) -> HarnessResult[Any]:
        """Wait for its turn and its end.

        Raises:
            HarnessRefused: it was refused or given up.
            HarnessError: its run failed, see the other subclasses.
            WorkflowFailureError: its run was cancelled or terminated.
            RPCError: see `standing`.
        """
        while True:
            standing = await self.standing()
            if standing.state in (SentState.REFUSED, SentState.GIVEN_UP):
                reason = standing.reason or "its mailbox was cancelled or terminated"
                raise HarnessRefused(reason, {}, standing.state.value)
            if standing.state is SentState.QUEUED:
                await asyncio.sleep(LOOK_S)
                continue
            try:
                return await self.run.result()
            except WorkflowFailureError as failed:
                # A mailbox that goes on in a new run has another workflow wait for the same turn.
                replaced = isinstance(failed.cause, TerminatedError)
                if not replaced or await self._state_of_run() is SentState.FAILED:
                    raise

    def _why_not(self, told: MailboxStanding) -> str | None:
        """Why it was refused, unless the key is that of another request that was not."""
        if self.key in (told.running, *told.queued):
            return None
        reasons = [each.reason for each in told.refused if each.key == self.key]
        return reasons[-1] if reasons else None

    async def _ask(self, run_id: str | None) -> MailboxStanding:
        """What a run of the mailbox says, None for its newest; nothing once Temporal forgot it."""
        handle = self._client.get_workflow_handle(self._signalled.id, run_id=run_id)
        try:
            return await handle.query(QUERY_STANDING, result_type=MailboxStanding)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return MailboxStanding()

    async def _state_of_run(self) -> SentState | None:
        status = await self._status(self.run.id)
        if status is None:
            return None
        if status is WorkflowExecutionStatus.RUNNING:
            return SentState.RUNNING
        done = status is WorkflowExecutionStatus.COMPLETED
        return SentState.DONE if done else SentState.FAILED

    async def _status(self, workflow_id: str) -> WorkflowExecutionStatus | None:
        """Of the newest run under an id; None when Temporal has none."""
        try:
            return (await self._client.get_workflow_handle(workflow_id).describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
