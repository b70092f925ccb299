"""The store: SQL tables, repositories and the event log, over SQLite or PostgreSQL."""

from store.migrate import migrate
from store.store import Store

__all__ = ["Store", "migrate"]
