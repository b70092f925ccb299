"""INSERT that yields to a row that is already there, in both dialects."""

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection


@cache
def _statement(dialect: str, table: sa.Table) -> sa.Insert:
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def insert_or_ignore(connection: Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert a row unless one with the same key is there.

    Returns:
        Whether the row is new.
    """
    return connection.execute(_statement(connection.dialect.name, table), row).rowcount > 0
