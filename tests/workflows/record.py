"""Records histories of real runs for the replay test: `python -m tests.workflows.record`.

Run it for each release; histories of earlier releases stay, so that code which cannot replay them
is noticed. Those in `0.1.0-tried` are of the same release, later: tool calls are tried at once.
"""

import asyncio
import json
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

from temporalio.client import Client

from tests.e2e.people import gated, resumed, vote, waiting
from tests.e2e.stack import APPROVAL, Stack, answer, new_session, say, wait_until

HISTORIES = Path(__file__).parent / "histories"


def run_scenarios(stack: Stack) -> dict[str, str]:
    """Make one session a scenario; scenario name by session id."""
    plain = stack.harness()
    asking = stack.harness(tools=[APPROVAL])
    sessions: dict[str, str] = {}

    def session(name: str) -> str:
        sessions[name] = new_session()
        return sessions[name]

    stack.invoke(plain, session("text"), say("Count to 3"))
    stack.invoke(plain, session("tool"), say("Run the shell command `echo hi`"))
    stack.invoke(plain, session("tool-left"), say("Run the shell command `sleep 3`"))
    together = "At the same time: Run the shell command `true` and run the shell command `false`"
    stack.invoke(plain, session("parallel-tools"), say(together))
    looping = say("Repeat 6 times: Run the shell command `true`")
    stack.invoke(plain, session("max-iterations"), looping, maxIterations=3)
    sleeping = say("Run the shell command `sleep 30`")
    stack.invoke(plain, session("timeout"), sleeping, timeoutSeconds=1)

    approval = session("approval")
    told = stack.invoke(asking, approval, say("Ask for approval to ship"))
    stack.invoke(asking, approval, answer((told.tool_uses[0]["toolUseId"], "yes")))

    gated_harness = gated(stack, {"tools": ["shell"], "action": "ask", "deadlineSeconds": 600})
    decided = session("decided")
    stack.invoke(gated_harness, decided, say("Run the shell command `echo hi`"))
    (decision,) = waiting(stack, decided)
    vote(stack, decision, "approve", reason="stdout is harmless")
    resumed(stack, gated_harness, decided, decision)

    queue = session("queued")
    first = stack.open(plain, queue, say("Run the shell command `sleep 1`"))
    next(first)
    stack.invoke(plain, queue, say("Count to 2"), headers={"x-everloop-if-busy": "enqueue"})
    list(first)

    killed = session("worker-killed")
    work = say("Run the shell command `touch begun; sleep 2`")
    running = threading.Thread(target=stack.follow, args=(plain, killed, work), kwargs={"key": "k"})
    running.start()
    wait_until(lambda: stack.volume_files("begun"))
    stack.kill("worker")
    running.join()
    return sessions


async def save(stack: Stack, sessions: dict[str, str], into: Path) -> None:
    """Write each run's history once it has closed or parked."""
    client = await Client.connect(stack.temporal)
    found = [run async for run in client.list_workflows("WorkflowType = 'HarnessSession'")]
    for name, session in sessions.items():
        runs = sorted(
            (run for run in found if run.id.endswith(session)), key=lambda run: run.start_time
        )
        for number, run in enumerate(runs):
            handle = client.get_workflow_handle(run.id, run_id=run.run_id)
            history = (await handle.fetch_history()).to_json_dict()
            path = into / f"{name}-{number}.json"
            path.write_text(json.dumps({"id": run.id, "history": history}, indent=1) + "\n")
            print(path.relative_to(HISTORIES), len(history["events"]), "events")


def main() -> None:
    into = HISTORIES / version("everloop-server")
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        stack = Stack(Path(scratch) / "data", EVERLOOP_GRACE_S="2").start()
        try:
            asyncio.run(save(stack, run_scenarios(stack), into))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
