"""Running a harness from another namespace, or in any SDK language: a Nexus service.

    from everloop.nexus import run_harness

    result = await run_harness("everloop", "my-harness", "Investigate order 42")

The first argument is the Nexus endpoint whose target is Everloop's namespace and its task queue
`everloop`. The operation is asynchronous: it takes as long as the run does, people included, and
cancelling it cancels the run.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, Unpack, overload

import nexusrpc
from temporalio import workflow
from temporalio.exceptions import NexusOperationError

from everloop.errors import error_of
from everloop.options import RunOptions, input_of
from everloop.output import asked
from everloop.results import HarnessResult, result_of
from everloop.runs import HarnessOutcome, HarnessRun

T = TypeVar("T")


@nexusrpc.service(name="everloop")
class HarnessService:
    """What Everloop's workers serve over Nexus.

    Attributes:
        run_harness: run a harness to its end.
    """

    run_harness: nexusrpc.Operation[HarnessRun, HarnessOutcome]


@overload
async def run_harness(
    endpoint: str,
    harness: str,
    prompt: str,
    *,
    output: type[T],
    **options: Unpack[RunOptions],
) -> HarnessResult[T]: ...


@overload
async def run_harness(
    endpoint: str,
    harness: str,
    prompt: str,
    *,
    output: Mapping[str, Any],
    **options: Unpack[RunOptions],
) -> HarnessResult[dict[str, Any]]: ...


@overload
async def run_harness(
    endpoint: str,
    harness: str,
    prompt: str,
    *,
    output: None = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[None]: ...


async def run_harness(
    endpoint: str,
    harness: str,
    prompt: str,
    *,
    output: Any = None,
    **options: Unpack[RunOptions],
) -> HarnessResult[Any]:
    """Run a harness to its end through a Nexus endpoint, in workflow code.

    Args:
        endpoint: the Nexus endpoint.
        harness: its name, id or ARN, or the ARN of one of its endpoints.
        prompt: what the user says.
        output: the type of a structured result, or a JSON schema of an object.
        **options: see `RunOptions`.

    Raises:
        HarnessError: the run failed, as with `everloop.workflow.run_harness`.
        NexusOperationError: it was cancelled, or Nexus could not bring it to Everloop.
    """
    wanted = asked(output)
    client = workflow.create_nexus_client(service=HarnessService, endpoint=endpoint)
    try:
        outcome = await client.execute_operation(
            HarnessService.run_harness, input_of(harness, prompt, wanted, **options)
        )
    except NexusOperationError as failed:
        error = error_of(_reason(failed))
        if error is None:
            raise
        raise error from failed
    return result_of(outcome, wanted)


def _reason(failed: BaseException) -> BaseException | None:
    """The run's own failure, which stands at the end of the chain."""
    while failed.__cause__ is not None:
        failed = failed.__cause__
    return failed
