"""How the store runs its statements: one `Database` over SQLite or PostgreSQL.

Repositories write their work as plain functions of a SQLAlchemy `Connection`; a database runs such
a function whole, in one transaction. JSON columns hand over JSON text (`store.columns.Document`),
so the engines' own JSON conversion is switched off.

SQLite: one writer at a time, begun with BEGIN IMMEDIATE so that two writers queue instead of
failing when a reader turns writer. Writers of one process queue here, in turn; SQLite's own waiting
sleeps. A transaction runs whole in a thread: a thread that is asked for each statement, as async
drivers for SQLite do, takes four times the processor's time. PostgreSQL: READ COMMITTED; whoever
changes a session locks its row first.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from store.unbroken import Unbroken

T = TypeVar("T")

#: Seconds that a SQLite writer waits for another process. A write takes milliseconds; only a
#: checkpoint of a large log comes near.
SQLITE_BUSY_S = 10
#: SQLite readers at once in one process; each is a thread.
SQLITE_READERS = 4
#: PostgreSQL connections that stay open in each of a process's three pools: durable work, deltas
#: and single statements. A transaction takes milliseconds, so that few serve many sessions.
POSTGRES_POOL = 3
#: Connections that each pool may open on top: a process uses at most 18 and one that listens, five
#: processes fewer than the server's default of 100.
POSTGRES_OVERFLOW = 3
#: Seconds to wait for a connection of the pool before the work fails.
POOL_WAIT_S = 10

#: How settings named SQLite while a driver of that name was used.
_FORMER_SQLITE = "sqlite+aiosqlite"

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    f"PRAGMA busy_timeout={SQLITE_BUSY_S * 1000}",
    "PRAGMA foreign_keys=ON",
    # What is deleted must be gone from the file, too: its bytes are overwritten.
    "PRAGMA secure_delete=ON",
)


class Database(Protocol):
    """Runs work; the name of its dialect is `sqlite` or `postgresql`."""

    @property
    def url(self) -> URL:
        """Where it is."""
        ...

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing, without a transaction."""
        ...

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run work in one transaction.

        Args:
            work: what to do; when it raises, nothing has happened.
            durable: False for deltas, which a power cut may take: the settled message has their
                text.
        """
        ...

    async def update(self, work: Callable[[Connection], T]) -> T:
        """Run work whose only write is one statement; that statement is the transaction."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def open_database(url: str) -> "SqliteDatabase | PostgresDatabase":
    """The database at a SQLAlchemy URL.

    Raises:
        ValueError: neither `sqlite` nor `postgresql+asyncpg`.
    """
    parsed = make_url(url)
    if parsed.drivername in ("sqlite", _FORMER_SQLITE):
        return SqliteDatabase(parsed)
    if parsed.drivername == "postgresql+asyncpg":
        return PostgresDatabase(parsed)
    raise ValueError(
        f"the database URL must begin with sqlite: or postgresql+asyncpg:, not {parsed.drivername}:"
    )


def _unchanged(text: Any) -> Any:
    return text


_JSON: dict[str, Any] = {"json_serializer": _unchanged, "json_deserializer": _unchanged}

#: Nothing is to be rolled back when a connection returns to the pool, which saves a round trip.
_AUTOCOMMIT: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
    "pool_reset_on_return": None,
}


class SqliteDatabase:
    """A SQLite file, shared with other processes of the same machine."""

    def __init__(self, url: URL) -> None:
        """Prepare engines; nothing is opened before the first work.

        Raises:
            ValueError: the URL names no file; an in-memory database cannot be shared.
        """
        if not url.database or url.database == ":memory:":
            raise ValueError("the SQLite URL must name a file")
        self.url = url
        self.path = Path(url.database)
        self._writer = _SqliteThreads(url, 1)
        self._reader = _SqliteThreads(url, SQLITE_READERS)
        self._unbroken = Unbroken()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        return await self._unbroken.run(self._reader.run(work))

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """See `Database.write`. WAL with synchronous=NORMAL treats deltas and the rest alike."""
        return await self._unbroken.run(self._writer.run(partial(_immediately, work=work)))

    async def update(self, work: Callable[[Connection], T]) -> T:
        """See `Database.update`."""
        return await self._unbroken.run(self._writer.run(work))

    async def close(self) -> None:
        """See `Database.close`."""
        await self._unbroken.drain()
        self._reader.close()
        self._writer.close()


class _SqliteThreads:
    """Threads that run work on connections of their own, in the order in which it came."""

    def __init__(self, url: URL, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="sqlite")
        self._engine = create_engine(
            url.set(drivername="sqlite"),
            pool_size=threads,
            max_overflow=0,
            **_JSON,
            **_AUTOCOMMIT,
        )
        event.listen(self._engine, "connect", _set_up_sqlite)

    def run(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)

    def _run(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    def close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()


async def _run(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with engine.connect() as connection:
        return await connection.run_sync(work)


async def _run_in_transaction(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def _immediately(connection: Connection, work: Callable[[Connection], T]) -> T:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        result = work(connection)
    except Exception:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
    return result


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


class PostgresDatabase:
    """A PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        """Prepare engines; nothing is opened before the first work."""
        self.url = url
        self._unbroken = Unbroken()
        self._durable = _postgres(url, _settings())
        self._relaxed = _postgres(url, _settings(synchronous_commit="off"))
        self._single = _postgres(url, _settings(), **_AUTOCOMMIT)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See `Database.read`."""
        return await self._unbroken.run(_run(self._single, work))

    async def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """See `Database.write`."""
        engine = self._durable if durable else self._relaxed
        return await self._unbroken.run(_run_in_transaction(engine, work))

    async def update(self, work: Callable[[Connection], T]) -> T:
        """See `Database.update`."""
        return await self._unbroken.run(_run(self._single, work))

    @asynccontextmanager
    async def dedicated(self) -> AsyncGenerator[AsyncConnection, None]:
        """A connection outside the pools, closed at the end."""
        engine = create_async_engine(
            self.url,
            connect_args=_settings(),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )
        async with engine.connect() as connection:
            yield connection

    async def close(self) -> None:
        """See `Database.close`."""
        await self._unbroken.drain()
        for engine in (self._single, self._relaxed, self._durable):
            await engine.dispose()


def _postgres(url: URL, settings: dict[str, Any], **options: Any) -> AsyncEngine:
    return create_async_engine(
        url,
        connect_args=settings,
        pool_size=POSTGRES_POOL,
        max_overflow=POSTGRES_OVERFLOW,
        pool_timeout=POOL_WAIT_S,
        **_JSON,
        **options,
    )


def _settings(**more: str) -> dict[str, Any]:
    # Compiling statements that take microseconds costs more than it saves.
    return {"server_settings": {"jit": "off", **more}}
