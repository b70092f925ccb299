"""Running a harness inside a workflow of your own.

    from everloop.workflow import run_harness

    result = await run_harness("my-harness", "Investigate order 42", output=OrderReport)

The run is a child workflow. It waits for people as long as they take, survives every process, and
is cancelled with your workflow. Its id follows from yours, so that a replay, a reset or a retry of
your workflow comes back to the same run instead of beginning another one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from everloop.errors import HarnessError, error_of
from everloop.options import RunOptions, input_of
from everloop.output import OutputType, asked
from everloop.results import HarnessResult, result_of
from everloop.runs import TASK_QUEUE, WORKFLOW, HarnessOutcome

__all__ = ["HarnessResult", "run_harness", "run_harnesses"]

T = TypeVar("T")

#: Runs that `run_harnesses` has going at once: what one worker on a few cores keeps busy.
AT_ONCE = 10
#: Where the text of each of many results is cut: a hundred of them stay far below the 50 MB that
#: Temporal allows of a history.
FAN_TEXT_BYTES = 64_000

#: The helper counts a workflow's calls in this attribute of its instance.
_COUNT = "_everloop_calls"


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: type[T],
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[T]: ...


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: Mapping[str, Any],
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[dict[str, Any]]: ...


@overload
async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: None = None,
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[None]: ...


async def run_harness(
    harness: str,
    prompt: str,
    *,
    output: Any = None,
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[Any]:
    """Run a harness to its end as a child of the running workflow.

    Args:
        harness: its name, id or ARN, or the ARN of one of its endpoints.
        prompt: what the user says.
        output: the type of a structured result, or a JSON schema of an object. The agent must give
            a value that fits; it is told what is wrong with one that does not.
        key: names this call within the workflow, across continue-as-new, too. Without it calls are
            counted, anew in each continued run.
        **options: see `RunOptions`.

    Returns:
        The result. That a limit was met is a stop reason, see `HarnessResult.done`.

    Raises:
        HarnessRefused: there is no such harness, or the input is bad.
        HarnessFailed: the model's provider failed for good, or a part of Everloop did.
        HarnessTimedOut: it took longer than `timeout`.
        OutputMissing: the agent gave no structured result that fits.
        ChildWorkflowError: the run was cancelled, by whoever did it.
    """
    wanted = asked(output)
    outcome = await _run(harness, prompt, wanted, _child_id(key), options)
    return result_of(outcome, wanted)


@overload
async def run_harnesses(
    harness: str,
    prompts: Sequence[str],
    *,
    output: type[T],
    at_once: int = ...,
    return_exceptions: Literal[False] = False,
    **options: Unpack[RunOptions],
) -> list[HarnessResult[T]]: ...


@overload
async def run_harnesses(
    harness: str,
    prompts: Sequence[str],
    *,
    output: type[T],
    at_once: int = ...,
    return_exceptions: Literal[True],
    **options: Unpack[RunOptions],
) -> list[HarnessResult[T] | HarnessError]: ...


@overload
async def run_harnesses(
    harness: str,
    prompts: Sequence[str],
    *,
    output: None = None,
    at_once: int = ...,
    return_exceptions: Literal[False] = False,
    **options: Unpack[RunOptions],
) -> list[HarnessResult[None]]: ...


@overload
async def run_harnesses(
    harness: str,
    prompts: Sequence[str],
    *,
    output: None = None,
    at_once: int = ...,
    return_exceptions: Literal[True],
    **options: Unpack[RunOptions],
) -> list[HarnessResult[None] | HarnessError]: ...


async def run_harnesses(
    harness: str,
    prompts: Sequence[str],
    *,
    output: Any = None,
    at_once: int = AT_ONCE,
    return_exceptions: bool = False,
    **options: Unpack[RunOptions],
) -> Any:
    """Run a harness once for each prompt, a bounded number at a time, each in its own session.

    Args:
        harness: see `run_harness`.
        prompts: one for each run; up to a thousand in one workflow.
        output: see `run_harness`.
        at_once: runs that are going at the same time.
        return_exceptions: put a run's `HarnessError` in its place. Otherwise the first one cancels
            the other runs and is raised.
        **options: see `RunOptions`; `session_id` does not go with many runs.

    Returns:
        The results in the order of the prompts.

    Raises:
        ValueError: `at_once` is below 1, or a `session_id` is given.
        HarnessError: a run failed.
    """
    if at_once < 1:
        raise ValueError("at_once must be at least 1")
    if options.get("session_id") is not None:
        raise ValueError("session_id: many runs cannot share one session; leave it out")
    options.setdefault("max_text_bytes", FAN_TEXT_BYTES)
    wanted = asked(output)
    room = asyncio.Semaphore(at_once)

    async def one(prompt: str, child_id: str) -> HarnessResult[Any] | HarnessError:
        async with room:
            try:
                return result_of(await _run(harness, prompt, wanted, child_id, options), wanted)
            except HarnessError as error:
                if not return_exceptions:
                    raise
                return error

    tasks = [asyncio.create_task(one(prompt, _child_id(None))) for prompt in prompts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(
    harness: str,
    prompt: str,
    wanted: OutputType[Any] | None,
    child_id: str,
    options: RunOptions,
) -> HarnessOutcome:
    try:
        return await workflow.execute_child_workflow(
            WORKFLOW,
            # The child's id alone names the run, whoever of its parent's runs starts it.
            input_of(harness, prompt, wanted, key="child", **options),
            id=child_id,
            task_queue=TASK_QUEUE,
            result_type=HarnessOutcome,
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            parent_close_policy=_close_policy(),
            # A child of an earlier attempt may still stand there. Its successor takes over its run.
            id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
            static_summary=f"harness {harness}",
        )
    except ChildWorkflowError as failed:
        error = error_of(failed.cause)
        if error is None:
            raise
        raise error from failed


def _child_id(key: str | None) -> str:
    info = workflow.info()
    if key is not None:
        return f"{info.workflow_id}/harness/{_tail(info.first_execution_run_id)}/key-{key}"
    instance = workflow.instance()
    number = getattr(instance, _COUNT, 0) + 1
    setattr(instance, _COUNT, number)
    return f"{info.workflow_id}/harness/{_tail(_first_attempt(info))}/{number}"


def _first_attempt(info: workflow.Info) -> str:
    """The run in which the calls are counted: kept by resets and retries, not by continue-as-new.

    From the third attempt on Temporal tells only the first run of the whole chain.
    """
    if info.attempt == 1:
        return info.original_execution_run_id
    if info.attempt == 2 and info.continued_run_id:
        return info.continued_run_id
    return info.first_execution_run_id


def _close_policy() -> ParentClosePolicy:
    """What becomes of a run whose workflow closes before it: it is cancelled.

    Unless the workflow may be retried: then its turn goes on for the next attempt to come back to.
    """
    if workflow.info().retry_policy is None:
        return ParentClosePolicy.REQUEST_CANCEL
    return ParentClosePolicy.TERMINATE


def _tail(run_id: str) -> str:
    """The random end of a run id: its beginning is a time."""
    return run_id[-12:]
