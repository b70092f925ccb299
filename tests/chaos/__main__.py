"""Chaos for as long as you like: `python -m tests.chaos --minutes 5`. `make chaos` calls it.

After a fault its data directory stays, with what there is to know of the sessions at fault.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.houses import everloop
from tests.chaos.run import play
from tests.chaos.script import write_script

#: Rounds of this size follow each other until the time is over. Environments die in each second.
SESSIONS, TURNS, DEATHS = 24, 4, 200


def main() -> int:
    """Play rounds with new seeds until the time is over or a fault shows; the exit code."""
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=about)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long at least; 5")
    parser.add_argument("--seed", type=int, help="of the first round; a random one when left out")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"at once; {SESSIONS}")
    parser.add_argument("--keep", action="store_true", help="leave the data directory in any case")
    given = parser.parse_args()
    seed: int = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    directory = Path(tempfile.mkdtemp(prefix="everloop-chaos-"))
    well = False
    try:
        well = _rounds(directory, seed, given.sessions, minutes=given.minutes)
    finally:
        if well and not given.keep:
            shutil.rmtree(directory)
        else:
            print(f"everything is in {directory}", flush=True)
    return 0 if well else 1


def _rounds(directory: Path, seed: int, sessions: int, *, minutes: float) -> bool:
    """Play until the time is over; whether no fault showed."""
    end = time.monotonic() + minutes * 60
    with everloop(directory / "data") as stack:
        while True:
            script = write_script(seed, sessions=sessions, turns=TURNS, deaths=DEATHS)
            who = ", ".join(script.victims)
            print(f"seed {seed}: {sessions} sessions of {TURNS} turns; {who} may die", flush=True)
            outcome = play(stack, script, _tell, directory / "faults")
            decided = ", ".join(f"{n} by {kind}" for kind, n in sorted(outcome.decided.items()))
            print(
                f"seed {seed}: {outcome.turns} turns, {outcome.effects} effects, "
                f"decisions: {decided}; {len(outcome.deaths)} deaths, "
                f"{outcome.seconds:.0f} s",
                flush=True,
            )
            if outcome.faults:
                print("\n".join(["not as it must be:", *outcome.faults]))
                return False
            if time.monotonic() > end:
                return True
            seed += 1


def _tell(what: str) -> None:
    # As the processes' logs have it.
    print(f"{datetime.now(UTC):%H:%M:%S.%f}  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
