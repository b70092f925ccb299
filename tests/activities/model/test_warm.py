import subprocess
import sys

SCRIPT = """
import asyncio, sys
from activities.model.warm import warm

async def main():
    await warm()
    loaded = set(sys.modules)
    await warm()
    print(len(loaded), sorted(set(sys.modules) - loaded))

asyncio.run(main())
"""


def test_after_warming_a_call_loads_nothing_more() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    count, more = done.stdout.split(" ", 1)
    assert int(count) > 1000, "LiteLLM was loaded"
    assert more.strip() == "[]"
