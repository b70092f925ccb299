"""Harnesses as tools of harnesses: results, failures, people, cancellation, depth, deaths."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import everloop
from contracts.agents import MAX_AGENT_DEPTH, agent_session_id
from contracts.ids import session_key
from everloop.sessions import Sessions
from tests.e2e.people import Json, Refused, gated, invocations, own, resumed, vote, waiting
from tests.e2e.stack import APPROVAL, Stack, Told, new_session, say, wait_until
from tests.e2e.test_deletion import rows_naming
from tests.providers.background import in_background
from tests.providers.said import Said
from tests.providers.server import Asked, speaking
from worker import PASSTHROUGH
from workflows.run_agent import RunAgent
from workflows.session import HarnessSession

OPENAI = {"liteLlmModelConfig": {"modelId": "openai/gpt-5.4"}}
ACCOUNT = "000000000000"


def boss(asked: Asked) -> Said:
    """Gives what it is told to its agent, and tells what came back."""
    newest = asked.body["messages"][-1]
    if newest["role"] == "tool":
        return Said(text=f"It came back: {words(newest['content'])}")
    task = words(newest["content"])
    if task.startswith("BOTH "):
        task = task.removeprefix("BOTH ")
        return Said(calls=(("asks", {"task": task}), ("works", {"task": task})))
    return Said(calls=(("helper", {"task": task}),))


def words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(each["text"] for each in content)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with in_background(lambda: speaking(boss)) as providers:
        running = Stack(
            tmp_path_factory.mktemp("agents") / "data",
            OPENAI_API_KEY="test",
            OPENAI_API_BASE=f"{providers.url}/v1",
        ).start()
        # Tests of time begin with models that are warm.
        running.invoke(running.harness(model=OPENAI), new_session(), say("Hello"))
        yield running
        running.stop()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor()
    yield pool
    # What a test that failed left waiting ends with the house.
    pool.shutdown(wait=False)


def extend(stack: Stack, arn: str, extensions: Json) -> None:
    harness_id = arn.split("/")[1]
    own(stack, "PUT", f"harnesses/{harness_id}/extensions", extensions)
    control = stack.control
    wait_until(
        lambda: control.get_harness(harnessId=harness_id)["harness"]["status"] == "READY",
        what="the agents did not come into force",
    )


def team(stack: Stack, helper: str, **extensions: Any) -> str:
    """A harness with one agent; its ARN."""
    arn = stack.harness(model=OPENAI)
    agent = {"name": "helper", "harness": helper, "description": "Does what it is told."}
    extend(stack, arn, {"agents": [agent], **extensions})
    return arn


def place(arn: str, session: str, call: str) -> str:
    """The session in which an agent was called."""
    return agent_session_id(session_key(ACCOUNT, arn.split("/")[1], session), call)


def lines(stack: Stack, name: str) -> list[str]:
    found = stack.volume_files(name)
    return found[0].read_text().split() if found else []


def test_an_agents_last_words_are_the_calls_result(house: Stack) -> None:
    helper, session = house.harness(), new_session()
    arn = team(house, helper)
    told = house.invoke(arn, session, say("Run the shell command `echo done | tee -a agent.txt`"))
    assert told.stops == ["tool_use", "tool_result", "end_turn"]
    assert "It came back: The command gave:\n\n```\ndone" in told.text
    assert lines(house, "agent.txt") == ["done"]
    child = place(arn, session, told.tool_uses[0]["toolUseId"])
    assert list(invocations(house, helper, child))


async def test_histories_replay_and_hold_neither_task_nor_result(house: Stack) -> None:
    arn, session = team(house, house.harness()), new_session()
    told = await asyncio.to_thread(
        house.invoke, arn, session, say("Run the shell command `echo secret-task`")
    )
    client = await Client.connect(house.temporal)
    key = session_key(ACCOUNT, arn.split("/")[1], session)
    runner = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
    replayer = Replayer(workflows=[HarnessSession, RunAgent], workflow_runner=runner)
    for workflow_id in (key, f"{key}/agent/{told.tool_uses[0]['toolUseId']}"):
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        assert "secret-task" not in history.to_json()
        assert all(b"secret-task" not in event.SerializeToString() for event in history.events)
        await replayer.replay_workflow(history)


def test_agents_that_cannot_run_are_results(house: Stack) -> None:
    arn = team(house, "nobody")
    told = house.invoke(arn, new_session(), say("Count to 2"))
    assert told.stop_reason == "end_turn"
    assert "It came back: Error: the agent was not run" in told.text and "nobody" in told.text
    tired = team(house, house.harness(maxIterations=1))
    told = house.invoke(tired, new_session(), say("Run the shell command `true`"))
    assert "stopped early: max_iterations_exceeded" in told.text


def test_agents_go_so_deep_and_no_deeper(house: Stack) -> None:
    arn = house.harness(model=OPENAI)
    itself = {"name": "helper", "harness": arn, "description": "Itself."}
    extend(house, arn, {"agents": [itself]})
    told = house.invoke(arn, new_session(), say("Dig."))
    assert told.text.count("It came back: ") == MAX_AGENT_DEPTH + 1
    assert f"{MAX_AGENT_DEPTH} deep at most" in told.text


def test_what_waits_below_names_the_session_on_top(house: Stack, aside: ThreadPoolExecutor) -> None:
    helper, session = gated(house, {"tools": ["shell"], "action": "ask"}), new_session()
    arn = team(house, helper)
    running: Future[Told] = aside.submit(
        house.invoke, arn, session, say("Run the shell command `echo ran >> below.txt`")
    )
    decision = asked_below(house, arn, session)
    assert decision["harnessId"] == helper.split("/")[1]
    assert lines(house, "below.txt") == []

    def listed() -> set[str]:
        found = own(house, "GET", "sessions?state=waiting")["sessions"]
        return {each["runtimeSessionId"] for each in found}

    wait_until(lambda: session in listed(), what="it is not listed as waiting")
    vote(house, decision, "approve")
    assert running.result(timeout=60).stop_reason == "end_turn"
    assert session not in listed()
    assert lines(house, "below.txt") == ["ran"]


def asked_below(stack: Stack, arn: str, session: str) -> Json:
    """What an agent asks of people, as soon as it does."""
    top = f"{arn.split('/')[1]}/{session}"
    (found,) = wait_until(
        lambda: own(stack, "GET", f"decisions?rootSession={top}")["decisions"],
        what="nothing waits",
    )
    assert found["rootSession"] == top
    return found


def test_the_time_of_callers_stands_still_while_people_decide_below(
    house: Stack, aside: ThreadPoolExecutor
) -> None:
    helper = gated(house, {"tools": ["shell"], "action": "ask"})
    middle = team(house, helper)
    arn, session, limit_s = team(house, middle), new_session(), 4
    control = house.control
    for each in (arn, middle):
        control.update_harness(harnessId=each.split("/")[1], timeoutSeconds=limit_s)
    prompt = say("Run the shell command `echo ran >> late.txt`")
    begun = time.monotonic()
    running: Future[Told] = aside.submit(house.follow, arn, session, prompt, key=new_session())
    decision = asked_below(house, arn, session)
    key = session_key(ACCOUNT, arn.split("/")[1], session)
    wait_until(lambda: parked(house, key), what="the caller keeps its history while it waits")
    wait_until(lambda: time.monotonic() > begun + limit_s + 1)
    assert not running.done()
    vote(house, decision, "approve")
    assert running.result(timeout=60).stop_reason == "end_turn"
    assert lines(house, "late.txt") == ["ran"]


def test_time_that_was_left_before_people_decided_is_all_that_is_left(
    house: Stack, aside: ThreadPoolExecutor
) -> None:
    helper, session = gated(house, {"tools": ["shell"], "action": "ask"}), new_session()
    arn, prompt = team(house, helper), say("Run the shell command `sleep 200`")
    running: Future[Told] = aside.submit(house.invoke, arn, session, prompt, timeoutSeconds=3)
    vote(house, asked_below(house, arn, session), "approve")
    told = running.result(timeout=60)
    assert told.stop_reason == "timeout_exceeded"
    (inner,) = [
        each
        for each in invocations(
            house, helper, place(arn, session, told.tool_uses[0]["toolUseId"])
        ).values()
        if each["invocationId"].startswith("decided-")
    ]
    assert inner["stopReason"] == "interrupted"


def test_cancelling_a_turn_withdraws_what_is_asked_below(
    house: Stack, aside: ThreadPoolExecutor
) -> None:
    helper, session = gated(house, {"tools": ["shell"], "action": "ask"}), new_session()
    arn, key = team(house, helper), f"cancel-{new_session()}"
    running: Future[Told] = aside.submit(
        house.invoke, arn, session, say("Run the shell command `true`"), key=key
    )
    decision = asked_below(house, arn, session)
    wait_until(lambda: parked(house, session_key(ACCOUNT, arn.split("/")[1], session)))
    own(house, "POST", f"harnesses/{arn.split('/')[1]}/sessions/{session}/invocations/{key}/cancel")
    assert running.result(timeout=60).stop_reason == "interrupted"
    assert own(house, "GET", f"decisions/{decision['decisionId']}")["decision"]["status"] != "open"


def test_an_agent_that_waits_does_not_hold_one_that_works(
    house: Stack, aside: ThreadPoolExecutor
) -> None:
    """Two agents: one asks people, the other works on meanwhile, then both are waited for."""
    arn, session = house.harness(model=OPENAI), new_session()
    asks = gated(house, {"tools": ["shell"], "action": "ask"})
    agents = [
        {"name": name, "harness": harness, "description": "Does what it is told."}
        for name, harness in (("asks", asks), ("works", house.harness()))
    ]
    extend(house, arn, {"agents": agents})
    work = "Run the shell command `echo $PPID >> both.txt; sleep 1`"
    running: Future[Told] = aside.submit(
        house.invoke, arn, session, say(f"BOTH {work}"), timeoutSeconds=60
    )
    decision = asked_below(house, arn, session)
    wait_until(lambda: len(lines(house, "both.txt")) == 1, what="the other one does not work")
    key = session_key(ACCOUNT, arn.split("/")[1], session)
    wait_until(lambda: parked(house, key), what="the turn does not wait")
    vote(house, decision, "approve")
    told = running.result(timeout=60)
    assert told.stop_reason == "end_turn"
    assert len([f for f in house.volume_files("both.txt")]) == 2


async def test_a_deleted_session_takes_its_agents_along(house: Stack) -> None:
    """While one waits for people two below, and although the worker is killed."""
    helper = gated(house, {"tools": ["shell"], "action": "ask"})
    middle = team(house, helper)
    arn, session = team(house, middle), new_session()
    client = await Client.connect(house.temporal)
    prompt, name = f"Run the shell command `echo {session}`", f"order-{session}"
    run = await everloop.Client(client).start(arn, prompt, id=name, session_id=session)
    decision = await asyncio.to_thread(asked_below, house, arn, session)
    of = Sessions.at(house.endpoint)
    begun = await asyncio.to_thread(of.delete, arn.split("/")[1], session, wait_s=0)
    await asyncio.to_thread(house.kill, "worker")
    with pytest.raises(everloop.HarnessFailed, match="deleted"):
        await run.result()

    def receipt(deletion_id: str) -> Json | None:
        found = of.deletion(deletion_id)
        return found if found["status"] == "COMPLETE" else None

    done = await asyncio.to_thread(
        wait_until, lambda: receipt(begun["deletionId"]), within_s=90, what="it is not complete"
    )
    assert done is not None and done["deleted"]["agent_sessions"] == 1
    (below,) = done["agents"]
    inner = receipt(below)
    assert inner is not None and len(inner["agents"]) == 1
    with pytest.raises(Refused, match="404"):
        own(house, "GET", f"decisions/{decision['decisionId']}")
    for words in (session, decision["runtimeSessionId"]):
        assert rows_naming(house, words) == []
    key = session_key(ACCOUNT, arn.split("/")[1], session)
    for query in (f"WorkflowId STARTS_WITH '{key}'", f"WorkflowId = '{name}'"):
        assert [run.id async for run in client.list_workflows(query)] == []


def parked(stack: Stack, key: str) -> bool:
    """Whether a session's run has continued as new, and waits with a history of a few events."""

    async def look() -> bool:
        client = await Client.connect(stack.temporal)
        runs = [run async for run in client.list_workflows(f"WorkflowId = '{key}'")]
        if len(runs) < 2:
            return False
        # The list is late: for a moment both runs are open in it.
        open_ones = [run for run in runs if run.status is WorkflowExecutionStatus.RUNNING]
        if len(open_ones) != 1:
            return False
        handle = client.get_workflow_handle(key, run_id=open_ones[0].run_id)
        history = await handle.fetch_history()
        return any(
            event.HasField("child_workflow_execution_started_event_attributes")
            for event in history.events
        )

    return asyncio.run(look())


def test_an_agent_can_be_put_behind_people_and_its_task_edited(house: Stack) -> None:
    rule = {"tools": ["@agents/helper"], "action": "ask"}
    arn, session = team(house, house.harness(), approvals={"rules": [rule]}), new_session()
    assert house.invoke(arn, session, say("Count to 2")).stops == ["tool_use"]
    (decision,) = waiting(house, session)
    assert (decision["arguments"], decision["rootSession"]) == ({"task": "Count to 2"}, None)
    vote(house, decision, "approve", arguments={"task": "Count to 4"})
    assert resumed(house, arn, session, decision)["stopReason"] == "end_turn"
    path = f"harnesses/{arn.split('/')[1]}/sessions/{session}/transcript"
    assert "1 2 3 4" in str(own(house, "GET", path))


def test_a_cancelled_turn_cancels_its_agents(house: Stack, aside: ThreadPoolExecutor) -> None:
    helper, session = house.harness(), new_session()
    arn, key = team(house, helper), f"cancel-{new_session()}"
    prompt = say(f"Run the shell command `touch {session}.begun; sleep 300`")
    running: Future[Told] = aside.submit(house.invoke, arn, session, prompt, key=key)
    wait_until(lambda: house.volume_files(f"{session}.begun"), what="the agent has not begun")
    path = f"harnesses/{arn.split('/')[1]}/sessions/{session}/invocations/{key}/cancel"
    own(house, "POST", path)
    told = running.result(timeout=60)
    assert told.stop_reason == "interrupted"
    child = place(arn, session, told.tool_uses[0]["toolUseId"])
    (inner,) = invocations(house, helper, child).values()
    assert (inner["state"], inner["stopReason"]) == ("ended", "interrupted")


def test_an_agent_runs_once_when_the_worker_dies(house: Stack, aside: ThreadPoolExecutor) -> None:
    session, arn = new_session(), team(house, house.harness())
    prompt = say("Run the shell command `echo ran >> once.txt; sleep 3; cat once.txt`")
    running: Future[Told] = aside.submit(house.follow, arn, session, prompt, key=new_session())
    wait_until(lambda: lines(house, "once.txt"), what="the agent has not begun")
    house.kill("worker")
    assert running.result(timeout=90).stop_reason == "end_turn"
    assert lines(house, "once.txt") == ["ran"]


@pytest.mark.parametrize(
    ("agents", "problem"),
    [
        ([{"name": "shell"}], "shell"),
        ([{"name": "request_approval"}], "request_approval"),
        ([{"name": "a"}, {"name": "a"}], "two agents are named a"),
        ([{"name": "no spaces"}], "name"),
        ([{"name": "a", "qualifier": ""}], "qualifier"),
    ],
)
def test_agents_that_cannot_be_are_refused(
    house: Stack, plain: str, agents: list[Json], problem: str
) -> None:
    given = [{"harness": "any", "description": "Any.", **agent} for agent in agents]
    with pytest.raises(Refused, match=problem) as refused:
        own(house, "PUT", f"harnesses/{plain}/extensions?dryRun=true", {"agents": given})
    assert refused.value.error == "ValidationException"


@pytest.fixture(scope="module")
def plain(house: Stack) -> str:
    return house.harness(tools=[APPROVAL]).split("/")[1]
