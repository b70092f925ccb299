"""Access keys: what callers of the API sign their requests with."""

import secrets
import string
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import DBAPIError

from contracts.errors import AwsError, DatabaseNotReady, ServiceError
from contracts.vault import AccessKey, AccessKeyRecord
from store.engine import Database
from store.vault_envelope import Envelopes, Sealed
from store.vault_tables import access_key as table

#: AWS's ids begin with AKIA; another beginning keeps scanners from raising AWS's alarms for ours.
ID_PREFIX = "EVLP"
_ID_ALPHABET = string.ascii_uppercase + "234567"
#: As long as AWS's ids: twenty characters.
_ID_RANDOM_CHARACTERS = 16
#: 240 bits, as 40 characters of base64: as long as AWS's secrets.
_SECRET_BYTES = 30

_ONE = sa.select(table).where(table.c.access_key_id == sa.bindparam("access_key_id"))


class AccessKeys:
    """The keys of the API's callers."""

    def __init__(self, database: Database, envelopes: Envelopes) -> None:
        """Work on a database, with these envelopes."""
        self._database = database
        self._envelopes = envelopes

    async def create(
        self,
        account: str,
        label: str,
        *,
        expires_at: datetime | None,
        user: str | None = None,
        roles: tuple[str, ...] = (),
    ) -> AccessKey:
        """Make a key; its secret cannot be shown again by any other operation.

        Args:
            account: the twelve-digit account that it speaks for.
            label: what to call it.
            expires_at: from when on it is refused.
            user: whom it stands for where people decide.
            roles: the roles that come with it.

        Raises:
            KeyRingFault: there is no usable key ring.
        """
        letters = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_RANDOM_CHARACTERS))
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        record = AccessKeyRecord(
            f"{ID_PREFIX}{letters}", account, label, datetime.now(UTC), expires_at, user, roles
        )
        sealed = await self._envelopes.seal(secret, record.access_key_id, 1)
        row = {
            "access_key_id": record.access_key_id,
            "account": account,
            "label": label,
            "created_at": record.created_at,
            "expires_at": expires_at,
            "user_name": user,
            "roles": ",".join(roles) or None,
            **sealed.columns(),
        }
        await self._database.write(lambda connection: connection.execute(sa.insert(table), row))
        return AccessKey(record, secret)

    async def list(self) -> list[AccessKeyRecord]:
        """Every key, oldest first.

        Raises:
            DatabaseNotReady: the database cannot be reached, or has no schema yet.
        """
        statement = sa.select(table).order_by(table.c.created_at, table.c.access_key_id)
        try:
            rows = await self._database.read(lambda connection: connection.execute(statement).all())
        except DBAPIError:
            raise DatabaseNotReady(
                "the database cannot be read; see that it runs and that its schema is there: "
                "python -m store.migrate"
            ) from None
        return [_record(row) for row in rows]

    async def find(self, access_key_id: str) -> AccessKey | None:
        """A key with its secret, for whoever checks signatures.

        Raises:
            SecretUnreadable: it does not open; the message names the id.
            KeyRingFault: there is no usable key ring.
        """

        def work(connection: Connection) -> Row[Any] | None:
            return connection.execute(_ONE, {"access_key_id": access_key_id}).first()

        row = await self._database.read(work)
        if row is None:
            return None
        secret = await self._envelopes.unseal(Sealed.of_row(row), access_key_id)
        return AccessKey(_record(row), secret)

    async def delete(self, access_key_id: str) -> None:
        """Delete a key; API servers that have just used it may take it for some seconds more.

        Raises:
            ServiceError: ResourceNotFoundException naming it.
        """
        statement = sa.delete(table).where(table.c.access_key_id == access_key_id)

        def work(connection: Connection) -> int:
            return connection.execute(statement).rowcount

        if await self._database.write(work) == 0:
            raise ServiceError(AwsError.NOT_FOUND, f"Access key {access_key_id} does not exist.")


def _record(row: Row[Any]) -> AccessKeyRecord:
    return AccessKeyRecord(
        access_key_id=row.access_key_id,
        account=row.account,
        label=row.label,
        created_at=row.created_at,
        expires_at=row.expires_at,
        user=row.user_name,
        roles=tuple(row.roles.split(",")) if row.roles else (),
    )
