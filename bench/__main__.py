"""`make bench`: every figure beside its floor, measured in the same run."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench import environments, gateway, iterations, latency, requests
from bench.model_server import ModelServer
from bench.report import show
from tests.e2e.stack import Stack


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--quick", action="store_true", help="leave out the 500-iteration turns")
    chosen = parser.parse_args()

    server = ModelServer()
    url = server.start()
    with tempfile.TemporaryDirectory() as scratch:
        figures = asyncio.run(environments.measure(Path(scratch) / "environments"))
        figures += requests.measure()
        figures += asyncio.run(gateway.measure(url))
        stack = Stack(Path(scratch) / "stack").start()
        try:
            figures += latency.measure(stack, server, url, rounds=chosen.rounds)
            for count in (50,) if chosen.quick else (50, 500):
                figures += asyncio.run(
                    iterations.measure(stack, url, iterations=count, rounds=chosen.rounds)
                )
        finally:
            stack.stop()
            server.stop()
    show(figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
