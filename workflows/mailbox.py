"""A session's mailbox: fire and forget, by signal-with-start from any language.

In order:
1. A signal brings a `HarnessRun`. Signals are looked at some at a time. What cannot be taken is
   refused: it stands in the answer to the query `standing`, and in the result, with the reason. A
   request that is queued already is not queued again.
2. The requests are run one after the other, each by a `RunHarness` whose id, and so its invocation,
   follows from the request's key. So one that is sent again later comes back to what it did.
3. How a request ends stands in its own workflow. A failure is noted, and the next one runs.
4. With a long history it continues-as-new. The run that goes then has a new `RunHarness` to wait
   for it, which takes over the same turn.
5. With nothing left to do it completes. A signal that comes in that moment is served first.

Cancelled, it cancels the run that goes and gives up what is queued. It never begins a request while
another one of its own runs, and people who are waited for are part of a run.
"""

import asyncio
from collections import deque
from dataclasses import replace
from typing import NoReturn

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from contracts.mailbox import MailboxState, QueuedRun
    from everloop.mailbox import (
        KEPT,
        KEY,
        MAILBOX,
        MAX_QUEUED,
        MAX_QUEUED_BYTES,
        QUERY_STANDING,
        SIGNAL_RUN,
        EndedRun,
        MailboxStanding,
        RefusedRun,
        mailbox_id,
        run_id,
    )
    from everloop.runs import TASK_QUEUE, WORKFLOW, HarnessRun

#: Requests that are looked at in one workflow task, which may take two seconds: one takes about a
#: millisecond.
SORTED_AT_ONCE = 50
#: Until the next ones are.
BREATH_S = 0.01
#: A run goes on in a new one with so many events at the latest: while many signals come, that is
#: possible only if what has come so far is looked at again in no time.
MAX_EVENTS = 1000
#: Characters of a reason.
MAX_REASON = 300
#: The key of a request's invocation beside the workflow's id, which names the request.
_KEY = "mailbox"


@workflow.defn(name=MAILBOX)
class HarnessMailbox:
    """Runs what a session is sent."""

    @workflow.init
    def __init__(self, state: MailboxState | None = None) -> None:
        """Take up what the last run left."""
        state = state or MailboxState()
        self._arrived: deque[Payload] = deque()
        self._queue = deque(state.queue)
        self._told = state.standing

    @workflow.run
    async def run(self, state: MailboxState | None = None) -> MailboxStanding:
        """Run what is queued until nothing is.

        Args:
            state: what the run begins with.

        Returns:
            What became of the requests.
        """
        while self._arrived or self._queue:
            await self._sort()
            if self._queue:
                await self._serve()
        return self.standing()

    @workflow.signal(name=SIGNAL_RUN)
    def take(self, request: RawValue) -> None:
        """Take a request in.

        Args:
            request: a `HarnessRun`, which anybody may have written.
        """
        self._arrived.append(request.payload)

    async def _sort(self) -> None:
        """Queue what has arrived, or refuse it, a bounded number in one workflow task."""
        while self._arrived:
            refused = self._told.refused_in_all
            for _ in range(min(SORTED_AT_ONCE, len(self._arrived))):
                self._look_at(self._arrived.popleft())
            if more := self._told.refused_in_all - refused:
                # What is wrong with a request may quote it, and stays out of the log.
                last = self._told.refused[-1].key
                workflow.logger.warning("refused %d requests, the last one %s", more, last)
            if self._arrived:
                await workflow.sleep(BREATH_S)

    def _look_at(self, payload: Payload) -> None:
        try:
            run = workflow.payload_converter().from_payload(payload, HarnessRun)
        except Exception as error:
            return self._refuse(None, f"is no HarnessRun: {error}")
        key = str(workflow.uuid4()) if run.key is None else run.key
        own = mailbox_id(run.harness, run.session_id or "")
        known = next((each for each in self._queue if each.key == key), None)
        if not KEY.fullmatch(key):
            self._refuse(None, f"key must match {KEY.pattern}")
        elif own != workflow.info().workflow_id:
            self._refuse(key, f"harness and session_id belong to the mailbox {own}")
        elif known is not None:
            if replace(known.run, deadline_s=run.deadline_s) != run:
                self._refuse(key, "another request of this key is queued")
        elif len(self._queue) >= MAX_QUEUED:
            self._refuse(key, f"{MAX_QUEUED} requests are queued, which is the most")
        else:
            # As this workflow hands it on, which may be longer than as it came.
            size = len(workflow.payload_converter().to_payload(run).data)
            left = MAX_QUEUED_BYTES - sum(each.size for each in self._queue)
            if size <= left:
                self._queue.append(QueuedRun(key, run, size))
            else:
                why = f"it has {size} bytes; {left} of {MAX_QUEUED_BYTES} are left in the queue"
                self._refuse(key, why)

    @workflow.query(name=QUERY_STANDING)
    def standing(self) -> MailboxStanding:
        """How it stands."""
        keys = [each.key for each in self._queue]
        return replace(
            self._told,
            running=next(iter(keys), None),
            queued=keys[1:],
            arrived=len(self._arrived),
        )

    async def _serve(self) -> None:
        """Run the first of the queue to its end; or continue-as-new, with it still the first."""
        if _is_long():
            self._renew()
        first = self._queue[0]
        if first.run.timeout_s is not None and first.run.deadline_s is None:
            until = replace(first.run, deadline_s=workflow.time() + first.run.timeout_s)
            first = self._queue[0] = replace(first, run=until)
        running = asyncio.create_task(_run(first))
        try:
            while not running.done():
                await workflow.wait_condition(lambda: running.done() or self._has_to_act())
                await self._sort()
                if not running.done() and _is_long():
                    self._renew()
        except asyncio.CancelledError:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        ended = EndedRun(first.key, running.result())
        self._queue.popleft()
        self._told = replace(
            self._told,
            ended=[*self._told.ended, ended][-KEPT:],
            ended_in_all=self._told.ended_in_all + 1,
        )

    def _has_to_act(self) -> bool:
        return bool(self._arrived) or _is_long()

    def _renew(self) -> NoReturn:
        workflow.continue_as_new(
            MailboxState(tuple(self._queue), self._told),
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    def _refuse(self, key: str | None, reason: str) -> None:
        self._told = replace(
            self._told,
            refused=[*self._told.refused, RefusedRun(key, reason[:MAX_REASON])][-KEPT:],
            refused_in_all=self._told.refused_in_all + 1,
        )


def _is_long() -> bool:
    info = workflow.info()
    length = info.get_current_history_length()
    return length >= MAX_EVENTS or info.is_continue_as_new_suggested()


async def _run(first: QueuedRun) -> str | None:
    """Run a request; None, or the type of its failure."""
    try:
        await workflow.execute_child_workflow(
            WORKFLOW,
            replace(first.run, key=_KEY),
            id=run_id(workflow.info().workflow_id, first.key),
            task_queue=TASK_QUEUE,
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            # It outlives the run of the mailbox, whose next one takes its place.
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
            static_summary=f"harness {first.run.harness}",
        )
    except ChildWorkflowError as failed:
        cause = failed.cause
        named = cause.type if isinstance(cause, ApplicationError) else None
        return named or type(cause).__name__
    return None
