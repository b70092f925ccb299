import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from store import migrate
from store.engine import open_database
from store.tables import metadata

ROOT = Path(__file__).parents[2]


async def test_migrations_make_exactly_the_tables(url: str) -> None:
    def differences(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    database = open_database(url)
    found = await database.read(differences)
    await database.close()
    assert found == []


async def test_migrating_again_from_a_running_loop_changes_nothing(url: str) -> None:
    migrate(url)


def migrate_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(migrate, url) for _ in range(4)]:
            done.result()


def test_processes_that_migrate_a_file_at_once_do_not_fail(tmp_path: Path) -> None:
    migrate_at_once(f"sqlite:///{tmp_path}/new%20folder/100%/everloop.db")


async def test_processes_that_migrate_a_server_at_once_do_not_fail(empty_postgres: str) -> None:
    migrate_at_once(empty_postgres)


def test_the_command_migrates_the_configured_database(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "store.migrate"],
        cwd=ROOT,
        env={**os.environ, "EVERLOOP_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "everloop.db").is_file()


@pytest.mark.parametrize(
    "url", ["mysql+asyncmy://localhost/x", "sqlite+pysqlcipher:///x.db", "sqlite:///:memory:"]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL must"):
        open_database(url)


def test_what_was_ready_before_provisioning_is_served_after_it(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    scripts = ScriptDirectory(str(ROOT / "store" / "migrations"))
    before = scripts.get_revision("0006").down_revision
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", scripts.dir)
        config.attributes["connection"] = connection
        command.upgrade(config, str(before))
        now = datetime.now(UTC).isoformat(sep=" ")
        row = f"('0', 'a-0123456789', 'a', 'READY', 3, '{now}', '{now}', 1)"
        columns = "account, harness_id, name, status, version, created_at, updated_at, alive"
        connection.exec_driver_sql(f"INSERT INTO harness ({columns}) VALUES {row}")
        connection.commit()
    migrate(f"sqlite:///{path}")
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT status, live_version, operation_id FROM harness"
        ).all()
    engine.dispose()
    assert [tuple(one) for one in found] == [("READY", 3, None)]
