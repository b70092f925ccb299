"""What a step reads and writes does not grow with the conversation before it."""

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

#: Messages a model is shown; more than this stand before the first look.
WINDOW = 20


@dataclass
class Meter:
    """Counts how often SQLite's engine went round a loop: a little for each row that it looked at."""

    rounds: int = 0
    of: dict[str, int] = field(default_factory=dict[str, int])

    def tick(self) -> None:
        self.rounds += 1

    async def look(self, what: str, work: Awaitable[Any]) -> Any:
        self.rounds = 0
        done = await work
        self.of[what] = self.of.get(what, 0) + self.rounds
        return done


@pytest.fixture
def meter() -> Iterator[Meter]:
    counting = Meter()

    def begin(connection: Any, _record: Any) -> None:
        connection.run_async(lambda driver: driver.set_progress_handler(counting.tick, 1))

    event.listen(Pool, "connect", begin)
    yield counting
    event.remove(Pool, "connect", begin)
