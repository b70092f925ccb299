"""The store of one process: every repository over one database."""

from store.access_keys import AccessKeys
from store.budgets import Budgets
from store.calls import Calls
from store.commands import Commands
from store.configs import Configs
from store.decisions import Decisions
from store.deletions import Deletions
from store.endpoints import Endpoints
from store.engine import Database, PostgresDatabase, SqliteDatabase, open_database
from store.environments import Environments
from store.forks import Forks
from store.harnesses import Harnesses
from store.hosts import Hosts
from store.log import Bells, DatabaseLog, EventLog
from store.log_postgres import PostgresBells
from store.log_sqlite import SqliteBells
from store.notices import Notices
from store.provisioning import Provisioning
from store.runs import Runs
from store.session_index import SessionIndex
from store.summaries import Summaries
from store.tags import Tags
from store.token_vault import TokenVault
from store.transcript import Transcript
from store.turn_files import TurnFilesLists
from store.turns import Turns
from store.usage import UsageReport
from store.vault import ApiKeyProviders
from store.vault_envelope import Envelopes
from store.vault_keyring import KeyWrapper, NoRing
from store.vault_kms_ring import KmsRing
from store.vault_rotation import Rotation


class Store:
    """All that Everloop keeps.

    Attributes:
        harnesses: definitions.
        endpoints: names that point at their versions.
        tags: of both.
        configs: resolved configurations by digest.
        turns: what happens to sessions.
        calls: tool calls.
        decisions: those that wait for people.
        notices: what others are told about decisions.
        runs: turns from beginning to end, for those who wait for them.
        transcript: settled messages.
        log: events, to be read and followed.
        environments: local environments and their hosts.
        commands: commands beside turns.
        turn_files: what turns did to sessions' files.
        hosts: the ways to sandbox hosts, and stops of sessions.
        api_keys: API-key credential providers.
        access_keys: what callers sign their requests with.
        token_vault: which KMS key the vault is kept under.
        rotation: brings secrets under the newest master key.
        summaries: what stands for beginnings of long transcripts.
        usage: what model calls used and cost.
        budgets: whether that is all that they may.
        provisioning: changes of harnesses and endpoints that are under way.
        sessions: sessions from outside of a turn.
        forks: new sessions from old ones.
        deletions: sessions that are to go, and receipts of those that are gone.
    """

    def __init__(self, database: Database, log: EventLog, wrapper: KeyWrapper) -> None:
        """Compose the repositories; `open` is how to get a store."""
        self._database = database
        self.harnesses = Harnesses(database)
        self.endpoints = Endpoints(database)
        self.tags = Tags(database)
        self.configs = Configs(database)
        self.turns = Turns(database)
        self.calls = Calls(database)
        self.decisions = Decisions(database)
        self.notices = Notices(database)
        self.runs = Runs(database)
        self.transcript = Transcript(database)
        self.log: EventLog = log
        self.environments = Environments(database)
        self.commands = Commands(database)
        self.turn_files = TurnFilesLists(database)
        self.hosts = Hosts(database)
        self.token_vault = TokenVault(database)
        if isinstance(wrapper, KmsRing):
            wrapper = wrapper.following(self.token_vault.kms_key)
        envelopes = Envelopes(wrapper)
        self.api_keys = ApiKeyProviders(database, envelopes)
        self.access_keys = AccessKeys(database, envelopes)
        self.rotation = Rotation(database, envelopes)
        self.summaries = Summaries(database)
        self.usage = UsageReport(database)
        self.budgets = Budgets(database)
        self.provisioning = Provisioning(database)
        self.sessions = SessionIndex(database)
        self.forks = Forks(database)
        self.deletions = Deletions(database)

    @classmethod
    async def open(cls, url: str, wrapper: KeyWrapper | None = None) -> "Store":
        """Open the database at a SQLAlchemy URL, which `store.migrate` has prepared.

        Args:
            url: where it is.
            wrapper: the master keys of the vault; without them, secrets stay sealed.

        Raises:
            ValueError: the URL is neither `sqlite` nor `postgresql+asyncpg`.
        """
        database = open_database(url)
        return cls(database, DatabaseLog(database, _bells(database)), wrapper or NoRing())

    async def close(self) -> None:
        """Stop listening and close every connection."""
        await self.log.close()
        await self._database.close()


def _bells(database: SqliteDatabase | PostgresDatabase) -> Bells:
    if isinstance(database, SqliteDatabase):
        return SqliteBells(database.path)
    return PostgresBells(database)
