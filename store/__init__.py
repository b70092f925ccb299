"""The store: SQL tables, repositories and the event log, over SQLite or PostgreSQL."""

from store.migrate import migrate
from store.operator_map import MapSource
from store.store import Store
from store.vault_keyring import RingSource
from store.vault_kms_ring import KmsRing
from store.vault_ring import Ring, ring_of

__all__ = ["KmsRing", "MapSource", "Ring", "RingSource", "Store", "migrate", "ring_of"]
