"""Chaos for as long as you like: `python -m tests.chaos --minutes 5`. `make chaos` calls it."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.houses import everloop
from tests.chaos.run import play
from tests.chaos.script import write_script

#: Rounds of this size follow each other until the time is over. Environments die in each second.
SESSIONS, TURNS, DEATHS = 24, 4, 200


def main() -> int:
    """Play rounds with new seeds until the time is over or a fault shows; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long at least; 5")
    parser.add_argument("--seed", type=int, help="of the first round; a random one when left out")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"at once; {SESSIONS}")
    given = parser.parse_args()
    seed: int = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    end = time.monotonic() + given.minutes * 60
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", flush=True)

    with (
        tempfile.TemporaryDirectory(prefix="everloop-chaos-") as directory,
        everloop(Path(directory) / "data") as stack,
    ):
        while True:
            script = write_script(seed, sessions=given.sessions, turns=TURNS, deaths=DEATHS)
            who = ", ".join(script.victims)
            print(f"seed {seed}: {given.sessions} sessions of {TURNS} turns; {who} may die")
            outcome = play(stack, script, tell)
            decided = ", ".join(f"{n} by {kind}" for kind, n in sorted(outcome.decided.items()))
            print(
                f"seed {seed}: {outcome.turns} turns, {outcome.effects} effects, "
                f"decisions: {decided}; {len(outcome.deaths)} deaths, "
                f"{outcome.seconds:.0f} s",
                flush=True,
            )
            if outcome.faults:
                print("\n".join(["not as it must be:", *outcome.faults]))
                return 1
            if time.monotonic() > end:
                return 0
            seed += 1


if __name__ == "__main__":
    sys.exit(main())
