"""Records histories of real runs for the replay test: `python -m tests.workflows.record`.

Run it for each release; histories of earlier releases stay, so that code which cannot replay them
is noticed. Names of scenarios on the command line record only those; what is there is not recorded
again, since a history of older code is worth more than one of today's. Those in `0.1.0-tried` and
`0.1.0-one-timer` are of the same release, later: tool calls are tried at once; one timer serves a
run.
"""

import asyncio
import contextlib
import gzip
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from temporalio.client import Client, WorkflowExecution

import everloop
from contracts.ids import session_key
from everloop.sessions import Sessions
from tests.e2e.people import gated, own, resumed, vote, waiting
from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until
from tests.e2e.test_agents import OPENAI, asked_below, boss, extend, parked, team
from tests.providers.background import in_background
from tests.providers.server import speaking

HISTORIES = Path(__file__).parent / "histories"

#: Which executions a scenario made, as a query of Temporal's.
Made = str


def begin(arn: str) -> str:
    """The name of a new session, which begins with its harness's."""
    return f"{arn.split('/')[1]}-{new_session()}"


def key_of(session: str) -> str:
    return session_key("0" * 12, session.partition("-session")[0], session)


def of_session(session: str) -> Made:
    return f"WorkflowId = '{key_of(session)}'"


def cancel(stack: Stack, arn: str, session: str, invocation: str) -> None:
    path = f"harnesses/{arn.split('/')[1]}/sessions/{session}/invocations/{invocation}/cancel"
    own(stack, "POST", path)


def text(stack: Stack) -> Made:
    arn = stack.harness()
    stack.invoke(arn, session := begin(arn), say("Count to 3"))
    return of_session(session)


def tool(stack: Stack) -> Made:
    arn = stack.harness()
    stack.invoke(arn, session := begin(arn), say("Run the shell command `echo hi`"))
    return of_session(session)


def tool_left(stack: Stack) -> Made:
    arn = stack.harness()
    stack.invoke(arn, session := begin(arn), say("Run the shell command `sleep 3`"))
    return of_session(session)


def parallel_tools(stack: Stack) -> Made:
    arn = stack.harness()
    together = "At the same time: Run the shell command `true` and run the shell command `false`"
    stack.invoke(arn, session := begin(arn), say(together))
    return of_session(session)


def max_iterations(stack: Stack) -> Made:
    arn = stack.harness()
    looping = say("Repeat 6 times: Run the shell command `true`")
    stack.invoke(arn, session := begin(arn), looping, maxIterations=3)
    return of_session(session)


def timeout(stack: Stack) -> Made:
    arn = stack.harness()
    sleeping = say("Run the shell command `sleep 30`")
    stack.invoke(arn, session := begin(arn), sleeping, timeoutSeconds=1)
    return of_session(session)


def approval(stack: Stack) -> Made:
    arn = stack.harness(tools=[APPROVAL])
    told = stack.invoke(arn, session := begin(arn), say("Ask for approval to ship"))
    stack.invoke(arn, session, answer((told.tool_uses[0]["toolUseId"], "yes")))
    return of_session(session)


def decided(stack: Stack) -> Made:
    arn = gated(stack, {"tools": ["shell"], "action": "ask", "deadlineSeconds": 600})
    stack.invoke(arn, session := begin(arn), say("Run the shell command `echo hi`"))
    (decision,) = waiting(stack, session)
    vote(stack, decision, "approve", reason="stdout is harmless")
    resumed(stack, arn, session, decision)
    return of_session(session)


def queued(stack: Stack) -> Made:
    arn = stack.harness()
    first = stack.open(arn, session := begin(arn), say("Run the shell command `sleep 1`"))
    next(first)
    stack.invoke(arn, session, say("Count to 2"), headers={"x-everloop-if-busy": "enqueue"})
    list(first)
    return of_session(session)


def cancelled(stack: Stack) -> Made:
    arn = stack.harness()
    work = say("Run the shell command `touch cancelled; sleep 60`")
    stream = stack.open(arn, session := begin(arn), work, key="k-cancelled")
    next(stream)
    wait_until(lambda: stack.volume_files("cancelled"))
    cancel(stack, arn, session, "k-cancelled")
    list(stream)
    return of_session(session)


def budget_paused(stack: Stack) -> Made:
    arn = stack.harness()
    extend(stack, arn, {"budget": {"tokensPerSession": 1}})
    work = say("Repeat 2 times: Run the shell command `true`")
    stack.invoke(arn, session := begin(arn), work)
    (decision,) = waiting(stack, session)
    vote(stack, decision, "approve", arguments={"addTokens": 10**6})
    resumed(stack, arn, session, decision)
    return of_session(session)


def agent_asks(stack: Stack) -> Made:
    helper = gated(stack, {"tools": ["shell"], "action": "ask"})
    arn = team(stack, helper)
    session = begin(arn)
    work = say("Run the shell command `echo hi`")
    running = threading.Thread(target=stack.invoke, args=(arn, session, work))
    running.start()
    vote(stack, asked_below(stack, arn, session), "approve")
    running.join()
    return f"WorkflowId STARTS_WITH '{key_of(session)}'"


def agent_cancelled(stack: Stack) -> Made:
    helper = gated(stack, {"tools": ["shell"], "action": "ask"})
    arn = team(stack, helper)
    session = begin(arn)
    work = say("Run the shell command `echo hi`")
    running = threading.Thread(
        target=stack.invoke, args=(arn, session, work), kwargs={"key": "k-agent"}
    )
    running.start()
    asked_below(stack, arn, session)
    wait_until(lambda: parked(stack, key_of(session)))
    cancel(stack, arn, session, "k-agent")
    running.join()
    return f"WorkflowId STARTS_WITH '{key_of(session)}'"


def run(stack: Stack) -> Made:
    return asked_and_answered(stack, "recorded-run", parks=False)


def run_parked(stack: Stack) -> Made:
    return asked_and_answered(stack, "recorded-parked", parks=True)


def asked_and_answered(stack: Stack, name: str, *, parks: bool) -> Made:
    """A run that asks a person, who answers at once, or after it has begun to wait for days."""
    arn = stack.harness(tools=[APPROVAL])
    session = everloop.session_id(new_session())

    async def through() -> None:
        client = everloop.Client(await Client.connect(stack.temporal))
        handle = await client.start(arn, "Ask for approval", id=name, session_id=session)
        (decision,) = await asyncio.to_thread(wait_until, lambda: waiting(stack, session))
        described = client.temporal.get_workflow_handle(name)
        began = (await described.describe()).run_id
        while parks and (await described.describe()).run_id == began:
            await asyncio.sleep(1)
        call = (decision["toolUseId"], "yes")
        await asyncio.to_thread(stack.invoke, arn, session, answer(call))
        await handle.result()

    asyncio.run(through())
    return f"WorkflowId = '{name}'"


def mailbox(stack: Stack) -> Made:
    arn = stack.harness()
    session = everloop.session_id(new_session())

    async def through() -> None:
        client = everloop.Client(await Client.connect(stack.temporal))
        for prompt in ("Run the shell command `sleep 1`", "Count to 2"):
            sent = await client.send(arn, prompt, session_id=session)
        with contextlib.suppress(everloop.HarnessRefused):
            await (await client.send("none", "Hello", session_id=session)).result()
        await sent.result()

    asyncio.run(through())
    return "WorkflowType = 'HarnessMailbox'"


def deleted(stack: Stack) -> Made:
    arn = stack.harness()
    session = begin(arn)
    stack.invoke(arn, session, say("Run the shell command `true`"), actorId="recorded")
    of = Sessions.at(stack.endpoint)
    actor = of.delete_actor("recorded", wait_s=60)
    assert actor["status"] == "COMPLETE"
    return "WorkflowType IN ('DeleteSession', 'DeleteActor')"


def provisioned(stack: Stack) -> Made:
    arn = stack.harness()
    stack.invoke(arn, begin(arn), say("Run the shell command `true`"))
    harness_id = arn.split("/")[1]
    stack.control.delete_harness(harnessId=harness_id)
    return f"WorkflowId STARTS_WITH 'provision:000000000000:{harness_id}:'"


def worker_killed(stack: Stack) -> Made:
    arn = stack.harness()
    session = begin(arn)
    work = say("Run the shell command `touch begun; sleep 2`")
    running = threading.Thread(target=stack.follow, args=(arn, session, work), kwargs={"key": "k"})
    running.start()
    wait_until(lambda: stack.volume_files("begun"))
    stack.kill("worker")
    running.join()
    return of_session(session)


SCENARIOS: dict[str, Callable[[Stack], Made]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(text, tool, tool_left, parallel_tools, max_iterations, timeout, approval, decided),
        *(queued, cancelled, budget_paused, agent_asks, agent_cancelled, run, run_parked),
        *(mailbox, provisioned),
        deleted,
        # Last, because it hurts.
        worker_killed,
    )
}
#: Of one scenario; those after them are like them.
MAX_SAVED = 6


async def save(stack: Stack, made: dict[str, Made], into: Path) -> None:
    """Write each run's history."""
    client = await Client.connect(stack.temporal)
    # Temporal lists runs, and ends of runs, some moments late.
    await asyncio.sleep(5)
    for name, query in made.items():
        found: list[WorkflowExecution] = [each async for each in client.list_workflows(query)]
        found.sort(key=lambda each: each.start_time)
        for number, each in enumerate(found[:MAX_SAVED]):
            handle = client.get_workflow_handle(each.id, run_id=each.run_id)
            history = (await handle.fetch_history()).to_json_dict()
            stored = {"id": each.id, "type": each.workflow_type, "history": history}
            path = into / f"{name}-{number}.json.gz"
            path.write_bytes(gzip.compress(json.dumps(stored).encode(), mtime=0))
            print(path.relative_to(HISTORIES), len(history["events"]), "events")


def main() -> None:
    into = HISTORIES / version("everloop-server")
    into.mkdir(parents=True, exist_ok=True)
    wanted = [
        name for name in sys.argv[1:] or SCENARIOS if not list(into.glob(f"{name}-[0-9]*.json*"))
    ]
    with tempfile.TemporaryDirectory() as scratch, in_background(lambda: speaking(boss)) as models:
        stack = Stack(
            Path(scratch) / "data",
            EVERLOOP_GRACE_S="2",
            OPENAI_API_KEY="test",
            OPENAI_API_BASE=f"{models.url}/v1",
        ).start()
        try:
            stack.invoke(stack.harness(model=OPENAI), new_session(), say("Hello"))
            made: dict[str, Made] = {}
            for name in wanted:
                made[name] = SCENARIOS[name](stack)
                print(name, flush=True)
            asyncio.run(save(stack, made, into))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
