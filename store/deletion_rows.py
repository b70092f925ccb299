"""Deleting a session's rows: whatever table has a column `session`, children first.

A table that is added later needs nothing here, as long as it names the session's key so.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from store.tables import invocation, metadata, run_config, session

_FORGET_ORIGIN = (
    sa.update(session).where(session.c.forked_from == sa.bindparam("key_")).values(forked_from=None)
)


def delete_batch(connection: Connection, key: str, limit: int) -> dict[str, int]:
    """Delete at most `limit` rows of one table; the session's own row once nothing hangs on it.

    Returns:
        How many, by table; empty when nothing is left.
    """
    for table in reversed(metadata.sorted_tables):
        if "session" in table.c:
            deleted = _delete(connection, table, key, limit)
            if any(deleted.values()):
                return deleted
    connection.execute(_FORGET_ORIGIN, {"key_": key})
    gone = connection.execute(sa.delete(session).where(session.c.key == key)).rowcount
    return {"session": gone} if gone else {}


def _delete(connection: Connection, table: sa.Table, key: str, limit: int) -> dict[str, int]:
    primary = list(table.primary_key.columns)
    batch = sa.select(*primary).where(table.c.session == key).limit(limit)
    if table is invocation:
        return _delete_invocations(connection, batch.add_columns(invocation.c.config_digest))
    of_batch = sa.tuple_(*primary).in_(batch)
    return {table.name: connection.execute(sa.delete(table).where(of_batch)).rowcount}


def _delete_invocations(connection: Connection, batch: sa.Select[Any]) -> dict[str, int]:
    """Configurations go with the last invocation that ran with them: they name the actor."""
    rows = connection.execute(batch).all()
    if not rows:
        return {}
    for row in rows:
        connection.execute(
            sa.delete(invocation).where(
                invocation.c.session == row.session,
                invocation.c.invocation_id == row.invocation_id,
            )
        )
    still_used = (
        sa.select(invocation.c.config_digest)
        .where(invocation.c.config_digest == run_config.c.digest)
        .exists()
    )
    unused = sa.delete(run_config).where(
        run_config.c.digest.in_({row.config_digest for row in rows}), ~still_used
    )
    configs = connection.execute(unused).rowcount
    return {"invocation": len(rows), "run_config": configs}
