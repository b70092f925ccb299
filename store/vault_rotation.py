"""Rotation: every data key wrapped anew under the primary master key; the values stay sealed."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from store.engine import Database
from store.vault_envelope import Envelopes, Sealed
from store.vault_tables import access_key, api_key_provider

#: The vault's tables, with the column that an envelope is bound to.
_TABLES = (
    (api_key_provider, api_key_provider.c.arn),
    (access_key, access_key.c.access_key_id),
)
#: Envelopes read at once: a few kilobytes each.
_BATCH = 100


class Rotation:
    """Brings the vault under the primary master key."""

    def __init__(self, database: Database, envelopes: Envelopes) -> None:
        """Work on a database, with these envelopes."""
        self._database = database
        self._envelopes = envelopes

    async def rewrap(self) -> int:
        """Wrap every data key that is under another master key anew.

        May be cut short and run again, and may run while the vault is used.

        Returns:
            How many were wrapped anew.

        Raises:
            KeyRingFault: there is no usable key ring.
            SecretUnreadable: the ring does not open an envelope; the message names it.
        """
        primary = await self._envelopes.primary()
        done = 0
        for table, name in _TABLES:
            while rows := await self._others(table, name, primary):
                for row in rows:
                    done += await self._rewrap_one(table, name, row)
        return done

    async def _others(
        self, table: sa.Table, name: sa.Column[str], primary: str
    ) -> Sequence[Row[Any]]:
        statement = (
            sa.select(name.label("about"), table)
            .where(table.c.key_id != primary)
            .order_by(name)
            .limit(_BATCH)
        )
        return await self._database.read(lambda connection: connection.execute(statement).all())

    async def _rewrap_one(self, table: sa.Table, name: sa.Column[str], row: Row[Any]) -> int:
        before = Sealed.of_row(row)
        after = await self._envelopes.rewrap(before, row.about)
        statement = (
            sa.update(table)
            .where(
                name == row.about, table.c.version == before.version, table.c.body == before.body
            )
            .values(key_id=after.key_id, wrapped_key=after.wrapped_key)
        )

        def work(connection: Connection) -> int:
            # A value that was replaced meanwhile is sealed under the ring of then; look again.
            return connection.execute(statement).rowcount

        return await self._database.write(work)
