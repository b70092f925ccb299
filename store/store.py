"""The store of one process: every repository over one database."""

from store.calls import Calls
from store.configs import Configs
from store.engine import Database, PostgresDatabase, SqliteDatabase, open_database
from store.environments import Environments
from store.harnesses import Harnesses
from store.log import Bells, DatabaseLog, EventLog
from store.log_postgres import PostgresBells
from store.log_sqlite import SqliteBells
from store.summaries import Summaries
from store.transcript import Transcript
from store.turns import Turns
from store.usage import UsageReport


class Store:
    """All that Everloop keeps.

    Attributes:
        harnesses: definitions.
        configs: resolved configurations by digest.
        turns: what happens to sessions.
        calls: tool calls.
        transcript: settled messages.
        log: events, to be read and followed.
        environments: local environments and their hosts.
        summaries: what stands for beginnings of long transcripts.
        usage: what model calls used and cost.
    """

    def __init__(self, database: Database, log: EventLog) -> None:
        """Compose the repositories; `open` is how to get a store."""
        self._database = database
        self.harnesses = Harnesses(database)
        self.configs = Configs(database)
        self.turns = Turns(database)
        self.calls = Calls(database)
        self.transcript = Transcript(database)
        self.log: EventLog = log
        self.environments = Environments(database)
        self.summaries = Summaries(database)
        self.usage = UsageReport(database)

    @classmethod
    async def open(cls, url: str) -> "Store":
        """Open the database at a SQLAlchemy URL, which `store.migrate` has prepared.

        Raises:
            ValueError: the URL is neither `sqlite+aiosqlite` nor `postgresql+asyncpg`.
        """
        database = open_database(url)
        return cls(database, DatabaseLog(database, _bells(database)))

    async def close(self) -> None:
        """Stop listening and close every connection."""
        await self.log.close()
        await self._database.close()


def _bells(database: SqliteDatabase | PostgresDatabase) -> Bells:
    if isinstance(database, SqliteDatabase):
        return SqliteBells(database.path)
    return PostgresBells(database)
