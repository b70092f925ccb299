"""Bringing a database's schema up to date: `migrate(url)`, or `python -m store.migrate`."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from store.engine import SQLITE_BUSY_S

#: The advisory lock that keeps two processes from migrating a PostgreSQL database at once.
_LOCK_KEY = 0x65766572
_SCRIPTS = Path(__file__).parent.parent / "migrations"


def migrate(url: str) -> None:
    """Upgrade the database at a SQLAlchemy URL to the newest schema.

    A SQLite file is created if need be. Processes may do this at once: one works, the others wait
    and find nothing to do.
    """
    parsed = make_url(url)
    if parsed.drivername.startswith("sqlite"):
        _migrate_sqlite(parsed)
        return
    # asyncpg needs an event loop of its own, and the caller's thread may be running one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _migrate_postgres(parsed)).result()


def _migrate_sqlite(url: URL) -> None:
    Path(url.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url.set(drivername="sqlite"),
        poolclass=NullPool,
        connect_args={"timeout": SQLITE_BUSY_S, "isolation_level": None},
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        _upgrade(connection)
        connection.commit()


async def _migrate_postgres(url: URL) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    # Processes that only use the store need not load alembic.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
