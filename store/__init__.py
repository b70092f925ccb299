"""The store: SQL tables, repositories and the event log, over SQLite or PostgreSQL."""

from store.migrate import migrate
from store.store import Store
from store.vault_keyring import RingSource

__all__ = ["RingSource", "Store", "migrate"]
