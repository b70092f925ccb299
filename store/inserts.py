"""INSERT beside a row that may be there already, in both dialects."""

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


@cache
def _adding(dialect: str, table: sa.Table) -> sa.Insert:
    made = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    added = {
        column.name: column + made.excluded[column.name]
        for column in table.c
        if not column.primary_key
    }
    return made.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)


def insert_or_add(connection: Connection, table: sa.Table, row: dict[str, Any]) -> None:
    """Insert a row of numbers, or add them to those of the row with the same key."""
    connection.execute(_adding(connection.dialect.name, table), row)
