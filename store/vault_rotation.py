"""Rotation: every data key wrapped anew under the primary master key; the values stay sealed."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import SecretUnreadable
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
#: Secrets that do not open which a message names.
_SHOWN = 5


class Rotation:
    """Brings the vault under the primary master key."""

    def __init__(self, database: Database, envelopes: Envelopes) -> None:
        """Work on a database, with these envelopes."""
        self._database = database
        self._envelopes = envelopes

    async def rewrap(self, *, everything: bool = False) -> int:
        """Wrap every data key that is under another master key anew.

        May be cut short and run again, and may run while the vault is used. What does not open is
        passed over and told at the end.

        Args:
            everything: wrap those under the primary anew too, as after KMS rotated inside a key.

        Returns:
            How many were wrapped anew.

        Raises:
            KeyRingFault: there is no usable key ring.
            SecretUnreadable: the ring does not open some envelopes; the message names them.
        """
        primary = await self._envelopes.primary()
        unreadable: dict[str, str] = {}
        done = 0
        for table, name in _TABLES:
            if everything:
                done += await self._pass(table, name, sa.true(), unreadable)
            # A value that is replaced meanwhile is sealed under the ring of then: look again.
            while count := await self._pass(table, name, table.c.key_id != primary, unreadable):
                done += count
        if unreadable:
            raise SecretUnreadable(
                f"{done} secrets were wrapped anew, {len(unreadable)} were not: "
                + " ".join(list(unreadable.values())[:_SHOWN])
            )
        return done

    async def _pass(
        self,
        table: sa.Table,
        name: sa.Column[str],
        which: sa.ColumnElement[bool],
        unreadable: dict[str, str],
    ) -> int:
        done, after = 0, ""
        while rows := await self._page(table, name, which, after):
            for row in rows:
                try:
                    done += await self._rewrap_one(table, name, row)
                except SecretUnreadable as error:
                    unreadable[row.about] = str(error)
            after = rows[-1].about
        return done

    async def _page(
        self, table: sa.Table, name: sa.Column[str], which: sa.ColumnElement[bool], after: str
    ) -> Sequence[Row[Any]]:
        statement = (
            sa.select(name.label("about"), table)
            .where(which, name > after)
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
            return connection.execute(statement).rowcount

        return await self._database.write(work)
