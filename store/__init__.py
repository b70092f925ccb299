"""The store: SQL tables, repositories and the event log, over SQLite or PostgreSQL."""

from store.migrate import migrate
from store.operator_map import MapSource
from store.store import Store
from store.vault_keyring import RingSource

__all__ = ["MapSource", "RingSource", "Store", "migrate"]
