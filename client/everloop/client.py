"""Running harnesses from any Python program.

client = await everloop.connect("localhost:7233")
result = await client.run("my-harness", "Investigate order 42")
"""

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar, Unpack, overload

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowHandle as TemporalHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from everloop.handles import RunHandle, SentRun
from everloop.mailbox import KEY, MAILBOX, SIGNAL_RUN, mailbox_id, run_id
from everloop.options import RunOptions, input_of
from everloop.output import asked
from everloop.results import HarnessResult
from everloop.runs import TASK_QUEUE, WORKFLOW, HarnessOutcome

T = TypeVar("T")


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

    async def send(
        self,
        harness: str,
        prompt: str,
        *,
        key: str | None = None,
        output: type[Any] | Mapping[str, Any] | None = None,
        **options: Unpack[RunOptions],
    ) -> SentRun:
        """Send a session something to do and forget it: signal-with-start of its mailbox.

        The session's mailbox runs what it is sent one after the other, people who are waited for
        included, and a failure does not stop what comes next.

        Args:
            harness: see `start`; one spelling of it has one mailbox for each session.
            prompt: what the user says.
            key: names the request in its session: what is sent again under it is not done again.
                `[a-zA-Z0-9][a-zA-Z0-9._:-]{0,199}`. Left out, each call is a request of its own.
            output: see `start`.
            **options: see `RunOptions`; `session_id` must be there.

        Returns:
            Where to look, for who wants to.

        Raises:
            ValueError: there is no `session_id`, or `key` is not of that form.
            RPCError: Temporal did not take it.
        """
        session_id = options.get("session_id")
        if session_id is None:
            raise ValueError("session_id: say which session; everloop.session_id(...) makes an id")
        key = uuid.uuid4().hex if key is None else key
        if not KEY.fullmatch(key):
            raise ValueError(f"key: must match {KEY.pattern}")
        wanted = asked(output)
        mailbox = mailbox_id(harness, session_id)
        signalled: TemporalHandle[Any, Any] = await self.temporal.start_workflow(
            MAILBOX,
            id=mailbox,
            task_queue=TASK_QUEUE,
            start_signal=SIGNAL_RUN,
            start_signal_args=[input_of(harness, prompt, wanted, key=key, **options)],
            static_summary=f"mailbox of harness {harness}",
        )
        run = self.temporal.get_workflow_handle(run_id(mailbox, key), result_type=HarnessOutcome)
        return SentRun(key, self.temporal, signalled, RunHandle(run, wanted))


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
