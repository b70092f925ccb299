"""A short chaos run with a fixed seed; `make chaos` is the long form."""

from collections.abc import Callable

from tests.chaos.run import play
from tests.chaos.script import VICTIMS, write_script
from tests.e2e.stack import Stack

#: Its first deaths are of all four kinds.
SEED = 75


def test_everything_is_once_and_whole_while_processes_die(
    new_stack: Callable[..., Stack],
) -> None:
    script = write_script(SEED, sessions=4, turns=2, deaths=12)
    assert {death.victim for death in script.deaths[:4]} == set(VICTIMS)
    told: list[str] = []
    outcome = play(new_stack(EVERLOOP_GRACE_S="1"), script, told.append)
    assert not outcome.faults, (outcome.faults, told)
    assert outcome.turns == 4 * 2
    assert set(outcome.deaths) == set(VICTIMS)
    assert outcome.deaths == [death.victim for death in script.deaths[: len(outcome.deaths)]]


def test_the_same_seed_makes_the_same_run() -> None:
    assert write_script(5, sessions=3, turns=3, deaths=9) == write_script(
        5, sessions=3, turns=3, deaths=9
    )
    assert write_script(5, sessions=3, turns=3, deaths=9) != write_script(
        6, sessions=3, turns=3, deaths=9
    )
