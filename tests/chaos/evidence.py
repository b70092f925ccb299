"""What is left of a session in which something was not as it must be: histories, rows and logs.

Taken while the rest of the run goes on and processes die, so each part is tried again; what cannot
be had is said in its place.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from temporalio.client import Client, WorkflowExecution

from contracts.ids import HarnessArn, session_key
from store.tables import metadata
from tests.e2e.stack import Frame, Stack

#: Seconds to try for: whatever was killed serves again after ten.
PATIENCE_S, PAUSE_S = 30.0, 0.5


def keep(stack: Stack, directory: Path, arn: str, session: str) -> None:
    """Write down what Temporal, the store and the processes know of a session and its agents.

    Args:
        stack: on which the run is.
        directory: for the files; `history-*.json` is what `temporal` and replayers read.
        arn: of the session's harness.
        session: the caller's id of it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    harness = HarnessArn.parse(arn)
    key = session_key(harness.account, harness.harness_id, session)
    database = stack.data_dir / "everloop.db"
    keys = [key, *_called_from(database, key)]
    for number, each in enumerate(keys):
        rows = json.dumps(dict(_rows(database, each)), indent=1, default=repr)
        (directory / f"rows-{number}.json").write_text(rows)
    shutil.copytree(stack.data_dir / "logs", directory / "logs", dirs_exist_ok=True)
    try:
        asyncio.run(_histories(stack, keys, directory))
    except Exception as error:
        (directory / "histories-are-missing.txt").write_text(f"{error!r}\n")


def _called_from(database: Path, key: str) -> list[str]:
    """Sessions of the agents that a session called, and of theirs."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "WITH RECURSIVE below(key) AS (SELECT key FROM session WHERE called_from = ? "
            "UNION SELECT s.key FROM session s JOIN below b ON s.called_from = b.key) "
            "SELECT key FROM below",
            (key,),
        )
        return [each for (each,) in found]


def _rows(database: Path, key: str) -> Iterator[tuple[str, list[Frame]]]:
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        for table in metadata.sorted_tables:
            column = "key" if table.name == "session" else "session"
            if column in table.c:
                # The names are those of our own tables.
                asked = f'SELECT * FROM "{table.name}" WHERE "{column}" = ?'
                yield table.name, [dict(row) for row in connection.execute(asked, (key,))]


async def _histories(stack: Stack, keys: list[str], directory: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                client = await Client.connect(stack.temporal)
                for key in keys:
                    query = f"WorkflowId STARTS_WITH '{key}'"
                    async for run in client.list_workflows(query):
                        await _history(client, run, directory)
            except Exception:
                await asyncio.sleep(PAUSE_S)
            else:
                return


async def _history(client: Client, run: WorkflowExecution, directory: Path) -> None:
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    path = directory / f"history-{run.start_time:%H%M%S}-{run.workflow_type}-{run.run_id}.json"
    path.write_text((await handle.fetch_history()).to_json())
    described = await handle.describe()
    path.with_suffix(".pending.txt").write_text(f"{run.id}\n{described.raw_description}")
