"""Running harnesses from any Python program.

client = await everloop.connect("localhost:7233")
result = await client.run("my-harness", "Investigate order 42")
"""

import uuid
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, Unpack, overload

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowFailureError
from temporalio.client import WorkflowHandle as TemporalHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from everloop.errors import error_of
from everloop.options import RunOptions, input_of
from everloop.output import OutputType, asked
from everloop.results import HarnessResult, result_of
from everloop.runs import TASK_QUEUE, WORKFLOW, HarnessOutcome

T = TypeVar("T")


class RunHandle(Generic[T]):
    """A run that was started. It goes on whether anybody holds its handle or not."""

    def __init__(
        self, handle: TemporalHandle[Any, HarnessOutcome], wanted: OutputType[T] | None
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


class Client:
    """Runs harnesses through a Temporal namespace that Everloop's workers serve."""

    def __init__(self, temporal: TemporalClient) -> None:
        """Use a connected Temporal client."""
        self.temporal = temporal

    @overload
    async def start(
        self,
        harness: str,
        prompt: str,
        *,
        output: type[T],
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[T]: ...

    @overload
    async def start(
        self,
        harness: str,
        prompt: str,
        *,
        output: Mapping[str, Any],
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[dict[str, Any]]: ...

    @overload
    async def start(
        self,
        harness: str,
        prompt: str,
        *,
        output: None = None,
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[None]: ...

    async def start(
        self,
        harness: str,
        prompt: str,
        *,
        output: Any = None,
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunHandle[Any]:
        """Start a run and do not wait for it.

        Args:
            harness: its name, id or ARN, or the ARN of one of its endpoints.
            prompt: what the user says.
            output: the type of a structured result, or a JSON schema of an object.
            id: the run's id. The same id is the same run: starting it again gives the run that is
                there, unless that one failed or was cancelled. Left out, each call starts a run.
            **options: see `RunOptions`.

        Raises:
            RPCError: Temporal cannot be reached.
        """
        wanted = asked(output)
        name = id or f"run-{uuid.uuid4()}"
        try:
            handle: TemporalHandle[Any, HarnessOutcome] = await self.temporal.start_workflow(
                WORKFLOW,
                input_of(harness, prompt, wanted, **options),
                id=name,
                task_queue=TASK_QUEUE,
                result_type=HarnessOutcome,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                static_summary=f"harness {harness}",
            )
        except WorkflowAlreadyStartedError:
            handle = self.temporal.get_workflow_handle(name, result_type=HarnessOutcome)
        return RunHandle(handle, wanted)

    @overload
    async def run(
        self,
        harness: str,
        prompt: str,
        *,
        output: type[T],
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> HarnessResult[T]: ...

    @overload
    async def run(
        self,
        harness: str,
        prompt: str,
        *,
        output: Mapping[str, Any],
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> HarnessResult[dict[str, Any]]: ...

    @overload
    async def run(
        self,
        harness: str,
        prompt: str,
        *,
        output: None = None,
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> HarnessResult[None]: ...

    async def run(
        self,
        harness: str,
        prompt: str,
        *,
        output: Any = None,
        id: str | None = None,
        **options: Unpack[RunOptions],
    ) -> HarnessResult[Any]:
        """Run a harness to its end; takes what `start` takes.

        Raises:
            HarnessError: the run failed, see its subclasses.
            WorkflowFailureError: it was cancelled or terminated.
            RPCError: Temporal cannot be reached.
        """
        handle = await self.start(harness, prompt, output=output, id=id, **options)
        return await handle.result()


async def connect(address: str = "localhost:7233", *, namespace: str = "default") -> Client:
    """Connect to the Temporal that Everloop's workers serve.

    Args:
        address: host:port of its frontend. For TLS, an API key or a data converter, connect a
            `temporalio.client.Client` yourself and give it to `Client`.
        namespace: the namespace.

    Raises:
        RuntimeError: nobody answers at the address.
    """
    return Client(await TemporalClient.connect(address, namespace=namespace))
