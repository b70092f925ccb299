"""What a session costs while it waits for a person: history of the run that waits, and disk."""

import asyncio
import sqlite3
import statistics
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from bench.bare import QUEUE
from bench.bare_worker import bare_worker
from bench.bed import Bed
from bench.report import Figure
from tests.e2e.stack import APPROVAL, new_session, say

SESSIONS = 50
#: Seconds that a bare workflow waits; it is terminated long before.
BARE_WAIT_S = 3600
#: A workflow that waits: started, task scheduled, task started, task completed, timer started.
WAITING_EVENTS = 5


@dataclass(frozen=True)
class History:
    """Of a run that waits."""

    events: int
    size: int


async def measure(bed: Bed) -> list[Figure]:
    """Park sessions, each with one call that waits for its caller.

    Returns:
        Events and bytes of the history of the run that waits, and what the databases grew by.
    """
    client = await Client.connect(bed.stack.temporal)
    arn = bed.harness(tools=[APPROVAL])
    await asyncio.to_thread(park, bed, arn)
    ours = [bed.stack.data_dir / "everloop.db", bed.stack.data_dir / "temporal.db"]
    histories: list[History] = []
    before = [_used_bytes(path) for path in ours]
    for _ in range(SESSIONS):
        session = await asyncio.to_thread(park, bed, arn)
        histories.append(await _waiting_run(client, _workflow_id(arn, session), renewed=True))
    grown = [(_used_bytes(path) - was) / SESSIONS for path, was in zip(ours, before, strict=True)]
    bare, bare_grown = await _bare(bed, client, ours[1])
    events, size = _medians(histories)
    bare_events, bare_size = _medians(bare)
    return [
        Figure("parked session: history events", "events", events, bare_events),
        Figure("parked session: history size", "bytes", size, bare_size),
        Figure("parked session: Everloop's database", "bytes", grown[0]),
        Figure("parked session: Temporal's database", "bytes", grown[1], bare_grown),
    ]


async def _bare(bed: Bed, client: Client, database: Path) -> tuple[list[History], float]:
    """Histories of bare workflows that wait, and what each added to Temporal's database."""
    names = [f"bare-wait-{uuid.uuid4()}" for _ in range(SESSIONS)]
    async with bare_worker(bed.stack.temporal):
        before = _used_bytes(database)
        for name in names:
            await client.start_workflow("BareWait", BARE_WAIT_S, id=name, task_queue=QUEUE)
        histories = [await _waiting_run(client, name, renewed=False) for name in names]
        grown = (_used_bytes(database) - before) / SESSIONS
        for name in names:
            await client.get_workflow_handle(name).terminate()
    return histories, grown


def park(bed: Bed, arn: str) -> str:
    """Have a new session wait for its caller; its id."""
    session = new_session()
    told = bed.stack.invoke(arn, session, say("ask 1"))
    if told.stop_reason != "tool_use":
        raise RuntimeError(f"the turn ended as {told.stop_reason}")
    return session


def _workflow_id(arn: str, session: str) -> str:
    return f"session:{arn.split(':')[4]}:{arn.split('/')[1]}:{session}"


async def _waiting_run(client: Client, workflow_id: str, *, renewed: bool) -> History:
    """The run that waits; a session starts a new one for it."""
    handle = client.get_workflow_handle(workflow_id)
    while True:
        info = (await handle.describe()).raw_description.workflow_execution_info
        first = await anext(aiter(handle.fetch_history_events()))
        before = first.workflow_execution_started_event_attributes.continued_execution_run_id
        if bool(before) == renewed and info.history_length >= WAITING_EVENTS:
            return History(info.history_length, info.history_size_bytes)
        await asyncio.sleep(0.02)


def _medians(histories: list[History]) -> tuple[float, float]:
    return (
        statistics.median(history.events for history in histories),
        statistics.median(history.size for history in histories),
    )


def _used_bytes(path: Path) -> int:
    """What a SQLite database's pages hold, the write-ahead log included."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:

        def ask(pragma: str) -> int:
            return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])

        return (ask("page_count") - ask("freelist_count")) * ask("page_size")
