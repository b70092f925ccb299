"""Which KMS key the token vault is kept under, as SetTokenVaultCMK chose it."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.vault import TOKEN_VAULT, VaultChoice
from store.engine import Database
from store.inserts import insert_or_ignore
from store.vault_tables import token_vault as table

_ONE = sa.select(table).where(table.c.name == TOKEN_VAULT)


class TokenVault:
    """The one vault, `default`."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def choice(self) -> VaultChoice | None:
        """What was chosen; None when nothing ever was."""

        def work(connection: Connection) -> Row[Any] | None:
            return connection.execute(_ONE).first()

        row = await self._database.read(work)
        return None if row is None else VaultChoice(row.kms_key_arn, row.modified_at)

    async def kms_key(self) -> str | None:
        """The key that was chosen; None for the configured one."""
        found = await self.choice()
        return None if found is None else found.kms_key_arn

    async def choose(self, kms_key_arn: str | None) -> VaultChoice:
        """Keep new secrets under a key; None for the configured one."""
        now = datetime.now(UTC)
        values = {"kms_key_arn": kms_key_arn, "modified_at": now}
        update = sa.update(table).where(table.c.name == TOKEN_VAULT).values(values)

        def work(connection: Connection) -> None:
            if not insert_or_ignore(connection, table, {"name": TOKEN_VAULT, **values}):
                connection.execute(update)

        await self._database.write(work)
        return VaultChoice(kms_key_arn, now)
