"""Harnesses inside business workflows: results, people, deaths, retries, cancellation, many."""

import asyncio
import dataclasses
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError
from temporalio.worker import Replayer

import everloop
from contracts.ids import HarnessArn, session_key
from everloop.runs import HarnessOutcome
from store import Store
from tests.e2e import business
from tests.e2e.business import QUEUE, OrderReport, business_worker
from tests.e2e.people import own
from tests.e2e.stack import APPROVAL, Stack, answer, say, wait_until
from tests.providers.background import in_background
from tests.providers.said import Said
from tests.providers.server import Asked, speaking

ROOT = Path(__file__).parents[2]
RUN = "WorkflowType = 'RunHarness'"


def reporter(asked: Asked) -> Said:
    """Gives a structured result: at once, after being told what is wrong, or never."""
    good = ("structured_output", {"summary": "fine", "risk": 2})
    bad = ("structured_output", {"summary": "fine", "risk": "high"})
    if "never" in asked.text:
        return Said(text="I would rather not.") if "words" in asked.text else Said(calls=(bad,))
    if "badly at first" in asked.text and "fit the schema of" not in asked.text:
        return Said(calls=(bad,))
    if "words at first" in asked.text and "still missing" not in asked.text:
        return Said(text="All is fine.")
    return Said(calls=(good,))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with in_background(lambda: speaking(reporter)) as providers:
        running = Stack(
            tmp_path_factory.mktemp("embed") / "data",
            ANTHROPIC_API_KEY="test",
            ANTHROPIC_API_BASE=providers.url,
            GEMINI_API_KEY="test",
            GEMINI_API_BASE=providers.url,
            OPENAI_API_KEY="test",
            OPENAI_API_BASE=f"{providers.url}/v1",
        ).start()
        yield running
        running.stop()


@pytest.fixture
async def temporal(house: Stack) -> AsyncGenerator[Client]:
    client = await Client.connect(house.temporal)
    async with business_worker(client):
        yield client


async def start(client: Client, run: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    options.setdefault("id", f"business-{uuid.uuid4()}")
    return await client.start_workflow(run, args=list(args), task_queue=QUEUE, **options)


async def soon(condition: Callable[[], Any], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


def name_of(arn: str) -> str:
    return arn.rsplit("/", 1)[1].rsplit("-", 1)[0]


async def runs_of(client: Client, parent: str) -> list[str]:
    return [run.id async for run in client.list_workflows(RUN) if run.id.startswith(parent)]


async def test_a_business_workflow_gets_the_result_and_replays(
    house: Stack, temporal: Client
) -> None:
    arn = house.harness()
    handle = await start(temporal, business.Investigate.run, arn, "Count to 3", {})
    result = await handle.result()
    assert result["text"] == "1 2 3"
    assert (result["stop_reason"], result["done"]) == ("end_turn", True)
    assert result["tokens"] > 0
    history = await handle.fetch_history()
    await Replayer(workflows=business.WORKFLOWS).replay_workflow(history)
    again = await start(
        temporal,
        business.Investigate.run,
        name_of(arn),
        "Run the shell command `seq 9`",
        {"session_id": result["session_id"], "max_iterations": 1, "max_text_bytes": 5},
    )
    limited = await again.result()
    assert limited["session_id"] == result["session_id"]
    assert (limited["stop_reason"], limited["done"]) == ("max_iterations_exceeded", False)
    assert (len(limited["text"]), limited["truncated"]) == (5, True)


@pytest.mark.parametrize(
    ("harness", "options", "kind", "what"),
    [
        ("no_such", {}, "ResourceNotFoundException", "no_such"),
        ("no such", {}, "ValidationException", "harness"),
        ("{}", {"session_id": "short"}, "ValidationException", "session_id"),
        ("{}", {"qualifier": "beta"}, "ResourceNotFoundException", "beta"),
        ("{}", {"max_iterations": 0}, "ValidationException", "overrides.maxIterations"),
        ("{}", {"model": {"bedrock": {}}}, "ValidationException", "overrides.model.bedrock"),
        ("{}", {"model": {}}, "ValidationException", "exactly one"),
        ("{}", {"tools": [{"type": "inline_function"}]}, "ValidationException", "tools[0]"),
    ],
)
async def test_bad_input_is_refused_by_name(
    house: Stack, temporal: Client, harness: str, options: Any, kind: str, what: str
) -> None:
    arn = house.harness()
    handle = await start(
        temporal, business.Investigate.run, harness.format(arn), "Count to 3", options
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == kind and what in cause.message


async def test_an_approval_in_the_middle_is_waited_for(house: Stack, temporal: Client) -> None:
    arn = house.harness(tools=[APPROVAL])
    prompt = "Ask for approval. Run the shell command `echo shipped`. Ask for approval."
    session = everloop.session_id("order", uuid.uuid4().hex)
    handle = await start(temporal, business.Investigate.run, arn, prompt, {"session_id": session})
    for _ in range(2):
        call = await waiting_call(house, arn, session)
        # What the approver's own client does, days later and knowing nothing of the workflow.
        await asyncio.to_thread(house.invoke, arn, session, answer((call, "yes")))
    result = await handle.result()
    assert result["stop_reason"] == "end_turn"
    assert "shipped" in result["text"] and result["text"].count("It was approved.") == 2
    assert result["tokens"] > 40


async def waiting_call(house: Stack, arn: str, session: str) -> str:
    """The call that waits for people in a session, once there is one."""
    parsed = HarnessArn.parse(arn)
    key = session_key(parsed.account, parsed.harness_id, session)
    store = await Store.open(house.database_url)
    try:
        async with asyncio.timeout(30):
            while not (calls := await store.calls.pending(key)):
                await asyncio.sleep(0.02)
        return calls[0].id
    finally:
        await store.close()


async def test_a_worker_killed_in_the_middle_leaves_one_result_and_each_effect_once(
    house: Stack, temporal: Client
) -> None:
    arn, effects = house.harness(), f"{uuid.uuid4().hex}.effects"
    prompt = " ".join(
        f"Run the shell command `echo {step} >> {effects}; sleep 0.5`." for step in range(3)
    )
    handle = await start(temporal, business.Investigate.run, arn, prompt, {})
    await soon(lambda: house.volume_files(effects), "the first command has begun")
    await asyncio.to_thread(house.kill, "worker")
    result = await handle.result()
    assert result["stop_reason"] == "end_turn"
    assert house.volume_files(effects)[0].read_text().split() == ["0", "1", "2"]
    assert len(await runs_of(temporal, handle.id)) == 1


async def test_a_parent_that_is_reset_comes_back_to_the_same_turn(
    house: Stack, temporal: Client
) -> None:
    arn, effects = house.harness(), f"{uuid.uuid4().hex}.effects"
    prompt = f"Run the shell command `echo once >> {effects}; sleep 2`."
    handle = await start(temporal, business.Investigate.run, arn, prompt, {})
    await soon(lambda: house.volume_files(effects), "the command has begun")
    await temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            # Before the first workflow task was completed: nothing of the run is left.
            workflow_task_finish_event_id=3,
            request_id=str(uuid.uuid4()),
        )
    )
    result = await temporal.get_workflow_handle(handle.id).result()
    assert result["stop_reason"] == "end_turn"
    assert house.volume_files(effects)[0].read_text().split() == ["once"]


async def test_a_parent_that_is_retried_comes_back_to_the_same_turn(
    house: Stack, temporal: Client
) -> None:
    arn, effects = house.harness(), f"{uuid.uuid4().hex}.effects"
    prompt = f"Run the shell command `echo once >> {effects}`."
    retry = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)
    handle = await start(temporal, business.FailsFirst.run, arn, prompt, retry_policy=retry)
    attempt, text, _ = await handle.result()
    assert attempt == 3 and "The command gave" in text
    assert house.volume_files(effects)[0].read_text().split() == ["once"]


async def test_a_parent_that_fails_in_the_middle_comes_back_to_the_same_turn(
    house: Stack, temporal: Client
) -> None:
    arn, effects = house.harness(), f"{uuid.uuid4().hex}.effects"
    prompt = f"Run the shell command `echo once >> {effects}; sleep 2`."
    retry = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
    handle = await start(temporal, business.FailsMeanwhile.run, arn, prompt, retry_policy=retry)
    result = await handle.result()
    assert result["stop_reason"] == "end_turn"
    assert house.volume_files(effects)[0].read_text().split() == ["once"]


async def test_the_example_runs(house: Stack) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(ROOT / "examples" / "business_workflow.py")],
        env={
            **os.environ,
            "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL": house.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "everloop-dev",
            "AWS_SECRET_ACCESS_KEY": "everloop-dev",
            "TEMPORAL_ADDRESS": house.temporal,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "order 42: hold",
        "8 orders reviewed; the last: 1 2 3 4 5 6 7 8",
    ]


async def test_a_continued_parent_makes_new_runs_unless_they_have_a_key(
    house: Stack, temporal: Client
) -> None:
    handle = await start(temporal, business.GoesOn.run, house.harness(), [])
    (own, kept), (own_later, kept_later) = await handle.result()
    assert own != own_later and kept == kept_later


async def test_structured_results_are_typed(house: Stack, temporal: Client) -> None:
    handle = await start(temporal, business.Reporting.run, house.harness(), "Count to 2")
    assert await handle.result() == ["Count to 2", 1, []]


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-3.5-flash",
        "openai/responses/gpt-5.4",
        "openai/gpt-5.4",
    ],
)
@pytest.mark.parametrize("how", ["well", "badly at first", "with words at first"])
async def test_a_result_that_does_not_fit_is_mended(
    house: Stack, temporal: Client, model: str, how: str
) -> None:
    client = everloop.Client(temporal)
    result = await client.run(
        house.harness(model={"liteLlmModelConfig": {"modelId": model}}),
        f"Report {how}.",
        output=OrderReport,
    )
    assert result.output == OrderReport(summary="fine", risk=2)
    assert result.done


@pytest.mark.parametrize("how", ["never", "never, only words"])
async def test_a_run_without_a_fitting_result_fails(
    house: Stack, temporal: Client, how: str
) -> None:
    arn = house.harness(model={"liteLlmModelConfig": {"modelId": "openai/gpt-5.4"}})
    with pytest.raises(everloop.OutputMissing) as failed:
        await everloop.Client(temporal).run(arn, f"Report {how}.", output=OrderReport)
    assert failed.value.stop_reason == "malformed_model_output"
    assert failed.value.session_id


async def test_many_runs_go_at_once_and_come_back_in_order(house: Stack, temporal: Client) -> None:
    handle = await start(temporal, business.InvestigateAll.run, house.harness(), 30, 10)
    texts = await handle.result()
    assert [len(text.split()) for text in texts] == list(range(1, 31))
    description = await handle.describe()
    assert description.history_length < 30 * 10


async def test_a_run_that_waits_is_withdrawn_with_its_parent(
    house: Stack, temporal: Client
) -> None:
    arn, session = house.harness(tools=[APPROVAL]), everloop.session_id(uuid.uuid4().hex)
    handle = await start(
        temporal, business.Investigate.run, arn, "Ask for approval", {"session_id": session}
    )
    await waiting_call(house, arn, session)
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    # Nothing waits any more, so that words are taken again.
    told = await asyncio.to_thread(house.invoke, arn, session, say("Count to 2"))
    assert told.text == "1 2"


async def test_a_turn_that_runs_is_interrupted_with_its_parent(
    house: Stack, temporal: Client
) -> None:
    arn, begun = house.harness(), f"{uuid.uuid4().hex}.begun"
    session = everloop.session_id(uuid.uuid4().hex)
    prompt = f"Run the shell command `touch {begun}; sleep 300`. Run the shell command `true`."
    handle = await start(temporal, business.Investigate.run, arn, prompt, {"session_id": session})
    await soon(lambda: house.volume_files(begun), "the command has begun")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    told = await asyncio.to_thread(house.invoke, arn, session, say("Count to 2"))
    assert told.text == "1 2"


async def test_a_run_that_waits_too_long_times_out(house: Stack, temporal: Client) -> None:
    client = everloop.Client(temporal)
    with pytest.raises(everloop.HarnessTimedOut):
        await client.run(house.harness(tools=[APPROVAL]), "Ask for approval", timeout=1)


async def test_the_same_id_is_the_same_run(house: Stack, temporal: Client) -> None:
    client, arn, name = everloop.Client(temporal), house.harness(), f"order-{uuid.uuid4()}"
    first = await client.start(arn, "Count to 2", id=name)
    second = await client.start(arn, "Count to 2", id=name)
    assert (await first.result()) == (await second.result())
    later = await client.run(arn, "Count to 2", id=name)
    assert later.invocation_id == (await first.result()).invocation_id


async def test_a_run_goes_through_a_nexus_endpoint(house: Stack, temporal: Client) -> None:
    handle = await start(temporal, business.ThroughNexus.run, house.harness(), "Count to 2")
    assert await handle.result() == "Count to 2"
    refused = await start(temporal, business.ThroughNexus.run, "no_such", "Count to 2")
    with pytest.raises(WorkflowFailureError) as failed:
        await refused.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "ResourceNotFoundException"


@pytest.fixture
async def elsewhere(house: Stack) -> AsyncGenerator[Client]:
    """A client, and a worker, in a namespace of their own."""
    client = await Client.connect(house.temporal, namespace=f"business-{uuid.uuid4().hex[:8]}")
    week = Duration(seconds=7 * 24 * 3600)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(
            namespace=client.namespace, workflow_execution_retention_period=week
        )
    )
    describe = DescribeNamespaceRequest(namespace=client.namespace)
    async with asyncio.timeout(60):
        while True:
            try:
                # The server's own view of it, which is some seconds late.
                await client.count_workflows()
                await client.workflow_service.describe_namespace(describe)
                break
            except RPCError:
                await asyncio.sleep(0.1)
    async with business_worker(client):
        yield client


async def test_a_run_from_another_namespace_and_its_cancellation(
    house: Stack, elsewhere: Client
) -> None:
    arn, begun = house.harness(), f"{uuid.uuid4().hex}.begun"
    session = everloop.session_id(uuid.uuid4().hex)
    first = await start(elsewhere, business.ThroughNexusAsJson.run, arn, "Count to 2", session)
    result = await first.result()
    assert (result["content"], result["session_id"]) == ([{"text": "1 2"}], session)
    assert set(result) == {field.name for field in dataclasses.fields(HarnessOutcome)}
    prompt = f"Run the shell command `touch {begun}; sleep 300`. Run the shell command `true`."
    second = await start(elsewhere, business.ThroughNexusAsJson.run, arn, prompt, session)
    await soon(lambda: house.volume_files(begun), "the command has begun")
    await second.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await second.result()
    assert isinstance(failed.value.cause, CancelledError)
    path = f"harnesses/{arn.split('/')[1]}/sessions/{session}/invocations"
    ends = [each["stopReason"] for each in own(house, "GET", path)["invocations"]]
    assert sorted(ends) == ["end_turn", "interrupted"]
    with pytest.raises(WorkflowFailureError) as refused:
        await (
            await start(elsewhere, business.ThroughNexusAsJson.run, "none", "x", session)
        ).result()
    cause: BaseException = refused.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError) and cause.type == "ResourceNotFoundException"


async def test_an_activity_that_is_cancelled_cancels_its_run(
    house: Stack, temporal: Client
) -> None:
    arn = house.harness(tools=[APPROVAL])
    counts = await start(temporal, business.InActivity.run, arn, "Count to 2")
    assert await counts.result() == "1 2"
    waits = await start(temporal, business.InActivity.run, arn, "Ask for approval")

    async def child() -> str | None:
        return next(iter(await runs_of(temporal, waits.id)), None)

    async with asyncio.timeout(30):
        while (run := await child()) is None:
            await asyncio.sleep(0.02)
    await waits.cancel()
    with pytest.raises(WorkflowFailureError) as failed:
        await temporal.get_workflow_handle(run).result()
    assert isinstance(failed.value.cause, CancelledError)
