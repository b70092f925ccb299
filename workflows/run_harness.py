"""One run of a harness from its prompt to its end, for a caller in Temporal.

In order:
1. The invocation is admitted to the store, under a key that follows from the workflow's id.
2. It is brought to its session's workflow, where it queues behind what runs.
3. The workflow waits for the session's signal that a turn has ended. A turn that ends because
   people must act is no end: whoever answers resumes it, and its end is signalled here, too.
4. From time to time it asks the store, so that a signal which was lost costs time and no result.
   The first time that it finds the turn waiting for people so, it continues-as-new, so that the
   newest code waits for them.
5. It reads the result and returns it, or fails with the reason.

Cancelled, or out of time, it has the turn interrupted and what waits for people withdrawn, and ends
when that is done. It never runs a turn twice: started again under the same id and key, it comes
back to the same invocation.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from contracts.runs import AdmitRun, AdmittedRun, ReadRun, RunActivity, RunFailure, RunState
    from contracts.turn import SIGNAL_TURN_ENDED, TurnEnded
    from everloop.errors import STOPPED, TIMED_OUT
    from everloop.runs import WORKFLOW, HarnessOutcome, HarnessRun
    from workflows.calls import STORE_RETRY, STORE_TIMEOUT

#: The store is asked for the first time after so long without a signal, then twice as late each
#: time: a run that waits for a person for a month adds some hundred events to its history.
FIRST_CHECK = timedelta(minutes=1)
LAST_CHECK = timedelta(hours=6)

#: How long a cancelled run waits for its turn to be interrupted. A model call or a command that
#: cannot be stopped at once is not waited for any longer; it ends without anybody listening.
STOP_WAIT = timedelta(seconds=60)
#: The session is asked again after so long.
STOP_CHECK = timedelta(seconds=5)

#: Guards what runs of 0.1.0's first histories did not do when people were waited for.
PARKS = "parks"

_ABANDONED = RunFailure(
    STOPPED,
    "The session's workflow run was stopped before the run ended. The conversation up to its last "
    "message is kept.",
)


@workflow.defn(name=WORKFLOW)
class RunHarness:
    """A run of a harness, as a workflow with a result."""

    @workflow.init
    def __init__(self, run: HarnessRun) -> None:
        """Begin without news."""
        self._run = run
        self._key = run.key or workflow.info().first_execution_run_id
        self._news = False
        self._deadline_s = run.deadline_s
        if run.timeout_s is not None and run.deadline_s is None:
            self._deadline_s = workflow.time() + run.timeout_s

    @workflow.run
    async def run(self, run: HarnessRun) -> HarnessOutcome:
        """Run the harness to its end.

        Args:
            run: what to run.

        Returns:
            The result.

        Raises:
            ApplicationError: there is none; its type is one of `everloop.errors` or AWS's name of
                the error.
        """
        beginning = asyncio.create_task(self._begin())
        try:
            admitted = await asyncio.shield(beginning)
            state = await self._end(admitted)
        except TimeoutError:
            admitted = beginning.result()
            await self._stop(admitted)
            _fail(RunFailure(TIMED_OUT, f"no end within {run.timeout_s} seconds"), admitted)
        except BaseException as error:
            if not is_cancelled_exception(error):
                raise
            await self._stop(await beginning)
            raise asyncio.CancelledError from error
        if state.outcome is None:
            _fail(state.failure or _ABANDONED, admitted)
        return state.outcome

    @workflow.signal(name=SIGNAL_TURN_ENDED)
    def turn_ended(self, end: TurnEnded) -> None:
        """Take note that a turn has ended.

        Args:
            end: which, and how.
        """
        self._news = self._news or self._is_news(end)

    def _is_news(self, end: TurnEnded) -> bool:
        """Whether the store is worth a look: one that waits for people, or goes on, has no end."""
        return not end.waiting and not end.resumed

    async def _begin(self) -> AdmittedRun:
        admitted = await self._admit()
        to_come = await workflow.execute_activity(
            RunActivity.DELIVER,
            admitted,
            result_type=bool,
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )
        self._news = self._news or not to_come
        return admitted

    async def _admit(self) -> AdmittedRun:
        return await workflow.execute_local_activity(
            RunActivity.ADMIT,
            AdmitRun(self._run, self._key),
            result_type=AdmittedRun,
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )

    async def _end(self, admitted: AdmittedRun) -> RunState:
        """Wait for the end.

        Raises:
            TimeoutError: the deadline passed.
        """
        check = FIRST_CHECK
        while True:
            heard = await self._hear(check)
            state = await self._read(admitted)
            if state.over:
                return state
            if not heard and not await self._alive(admitted):
                # What ended it may have come in between.
                state = await self._read(admitted)
                if not state.waiting:
                    return state
            if workflow.info().is_continue_as_new_suggested():
                self._renew()
            if state.waiting and not heard:
                self._park()
            check = min(check * 2, LAST_CHECK)

    def _park(self) -> None:
        """Have the newest code wait for people, once."""
        if workflow.info().continued_run_id is None and workflow.patched(PARKS):
            self._renew()

    def _renew(self) -> NoReturn:
        workflow.continue_as_new(
            replace(self._run, deadline_s=self._deadline_s),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    async def _hear(self, patience: timedelta) -> bool:
        """Wait for news; False when none came in time."""
        left_s = patience.total_seconds()
        if self._deadline_s is not None:
            left_s = min(left_s, max(self._deadline_s - workflow.time(), 0))
        try:
            await workflow.wait_condition(lambda: self._news, timeout=left_s)
        except TimeoutError:
            if self._deadline_s is not None and workflow.time() >= self._deadline_s:
                raise
            return False
        self._news = False
        return True

    async def _read(self, admitted: AdmittedRun) -> RunState:
        wants_output = self._run.output_schema is not None
        return await workflow.execute_local_activity(
            RunActivity.READ,
            ReadRun(admitted, wants_output, self._run.max_text_bytes),
            result_type=RunState,
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )

    async def _alive(self, admitted: AdmittedRun) -> bool:
        return await workflow.execute_activity(
            RunActivity.ALIVE,
            admitted,
            result_type=bool,
            start_to_close_timeout=STORE_TIMEOUT,
            retry_policy=STORE_RETRY,
        )

    async def _stop(self, admitted: AdmittedRun) -> None:
        until = workflow.time() + STOP_WAIT.total_seconds()
        while workflow.time() < until:
            self._news = False
            over = await workflow.execute_activity(
                RunActivity.STOP,
                admitted,
                result_type=bool,
                start_to_close_timeout=STORE_TIMEOUT,
                retry_policy=STORE_RETRY,
            )
            if over or await self._hear_within(STOP_CHECK):
                return

    async def _hear_within(self, patience: timedelta) -> bool:
        try:
            await workflow.wait_condition(lambda: self._news, timeout=patience)
        except TimeoutError:
            return False
        return True


def _fail(failure: RunFailure, admitted: AdmittedRun) -> NoReturn:
    raise ApplicationError(
        failure.message,
        {
            "session_id": admitted.session_id,
            "invocation_id": admitted.invocation_id,
            "stop_reason": failure.stop_reason,
        },
        type=failure.type,
        non_retryable=True,
    )
