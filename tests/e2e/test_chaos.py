"""A short chaos run with a fixed seed; `make chaos` is the long form."""

import asyncio
import json
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from tests.chaos.evidence import keep
from tests.chaos.houses import everloop
from tests.chaos.run import play
from tests.chaos.script import ENVIRONMENTS, HOUSES, PROCESSES, write_script
from tests.e2e.stack import Stack, new_session, say
from worker import PASSTHROUGH
from workflows.session import HarnessSession

#: Its first deaths are of all four processes, and its users cancel and run commands, too.
SEED = 2914
SESSIONS = 5


def test_everything_is_once_and_whole_while_processes_die(tmp_path: Path) -> None:
    script = write_script(SEED, sessions=SESSIONS, turns=2, deaths=5)
    assert {death.victim for death in script.deaths[:4]} == set(PROCESSES)
    assert len({talk.house for talk in script.talks}) == SESSIONS
    assert {turn.kind for turn in script.talks[0].turns} == {"cancel", "command"}
    told: list[str] = []
    with everloop(tmp_path / "data") as stack:
        outcome = play(stack, script, told.append, tmp_path / "faults")
        _keeps_what_is_known_of_a_session(stack, tmp_path / "kept")
    assert not outcome.faults, (outcome.faults, told)
    assert outcome.turns == SESSIONS * 2
    assert min(outcome.decided[kind] for kind in ("votes", "budget", "deadline")) > 0
    assert set(outcome.deaths) == set(PROCESSES)
    assert outcome.deaths == [death.victim for death in script.deaths[: len(outcome.deaths)]]


def _keeps_what_is_known_of_a_session(stack: Stack, directory: Path) -> None:
    """As after a fault; there is one stack here already."""
    arn, session = stack.harness(), new_session()
    stack.follow(arn, session, say("Run the shell command `echo kept`."), key="kept")
    keep(stack, directory, arn, session)
    history, *_ = sorted(directory.glob("history-*-HarnessSession-*.json"))
    ran = WorkflowHistory.from_json("session", history.read_text())
    runner = SandboxedWorkflowRunner(restrictions=PASSTHROUGH)
    replayer = Replayer(workflows=[HarnessSession], workflow_runner=runner)
    asyncio.run(replayer.replay_workflow(ran))  # pyright: ignore[reportUnknownMemberType]
    rows = json.loads((directory / "rows-0.json").read_text())
    assert [each["state"] for each in rows["invocation"]] == ["ended"]
    assert "kept" in rows["call"][0]["content"]
    assert {"worker.log", "api.log"} <= {each.name for each in (directory / "logs").iterdir()}


def test_the_same_seed_makes_the_same_run() -> None:
    def write(seed: int) -> object:
        return write_script(seed, sessions=len(HOUSES), turns=3, deaths=9)

    assert write(5) == write(5)
    assert write(5) != write(6)


def test_environments_die_in_every_second_run() -> None:
    victims = {
        seed: {death.victim for death in write_script(seed, sessions=1, turns=1, deaths=99).deaths}
        for seed in (6, 7)
    }
    assert victims == {6: set(PROCESSES), 7: {*PROCESSES, *ENVIRONMENTS}}
