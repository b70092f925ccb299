"""`make bench`: every figure beside its floor, measured in the same run."""

import argparse
import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench import (
    decisions,
    environments,
    fleet,
    gateway,
    iterations,
    latency,
    parked,
    recovery,
    requests,
    turns,
)
from bench.bed import Bed, Options
from bench.report import Figure, show

#: In the order of running. What hurts processes comes last.
MEASUREMENTS: Mapping[str, Callable[[Bed], list[Figure] | Awaitable[list[Figure]]]] = {
    "environments": environments.measure,
    "requests": requests.measure,
    "gateway": gateway.measure,
    "latency": latency.measure,
    "iterations": iterations.measure,
    "turns": turns.measure,
    "parked": parked.measure,
    "decisions": decisions.measure,
    "fleet": fleet.measure,
    "recovery": recovery.measure,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="leave out the 500-iteration turns; one fleet, shorter sessions",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=tuple(MEASUREMENTS),
        help="run this measurement only; may be given more than once",
    )
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {chosen.rounds}")

    figures: list[Figure] = []
    options = Options(rounds=chosen.rounds, quick=chosen.quick)
    with tempfile.TemporaryDirectory() as scratch, Bed(Path(scratch), options) as bed:
        for name, measure in MEASUREMENTS.items():
            if chosen.only is None or name in chosen.only:
                figures += _run(measure(bed))
    show(figures, as_json=chosen.json)


def _run(measured: list[Figure] | Awaitable[list[Figure]]) -> list[Figure]:
    if not inspect.isawaitable(measured):
        return measured

    async def wait() -> list[Figure]:
        return await measured

    return asyncio.run(wait())


if __name__ == "__main__":
    main()
