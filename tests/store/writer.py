"""Another process that writes deltas to a step in flight.

`python -m tests.store.writer URL SESSION INVOCATION ATTEMPT FIRST COUNT` prints the wall-clock time
of each commit, a line each.
"""

import asyncio
import sys
import time

from contracts.events import BlockDelta
from store import Store


async def main(
    url: str, session: str, invocation_id: str, attempt: int, first: int, count: int
) -> None:
    store = await Store.open(url)
    for index in range(first, first + count):
        piece = BlockDelta(block=0, text=f"word {index} ")
        await store.turns.append(session, invocation_id, 0, attempt, index, [piece])
        print(time.time(), flush=True)
        # A model's pace: followers are to be woken for each row, not to find many at once.
        await asyncio.sleep(0.01)
    await store.close()


if __name__ == "__main__":
    _, where, key, name, *numbers = sys.argv
    asyncio.run(main(where, key, name, int(numbers[0]), int(numbers[1]), int(numbers[2])))
