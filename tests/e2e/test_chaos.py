"""A short chaos run with a fixed seed; `make chaos` is the long form."""

from pathlib import Path

from tests.chaos.houses import everloop
from tests.chaos.run import play
from tests.chaos.script import ENVIRONMENTS, HOUSES, PROCESSES, write_script

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
    assert not outcome.faults, (outcome.faults, told)
    assert outcome.turns == SESSIONS * 2
    assert min(outcome.decided[kind] for kind in ("votes", "budget", "deadline")) > 0
    assert set(outcome.deaths) == set(PROCESSES)
    assert outcome.deaths == [death.victim for death in script.deaths[: len(outcome.deaths)]]


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
