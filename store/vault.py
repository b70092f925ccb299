"""API-key credential providers: named keys whose values leave only through `reveal`."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError, invalid
from contracts.vault import ApiKeyProviderArn, ApiKeyProviderRecord
from store.engine import Database
from store.inserts import insert_or_ignore
from store.paging import decode_token, encode_token
from store.vault_envelope import Envelopes, Sealed
from store.vault_tables import api_key_provider as table

#: `maxResults` of ListApiKeyCredentialProviders goes to 100.
MAX_PAGE = 100
#: Replacing a key seals it for the version after the one that it read; whoever is overtaken reads
#: again. More callers than this at one provider in the same millisecond are a fault of theirs.
_UPDATE_ATTEMPTS = 10

_ONE = sa.select(table).where(table.c.arn == sa.bindparam("arn"))
_FIRST_PAGE = (
    sa.select(table)
    .where(
        table.c.account == sa.bindparam("account"),
        table.c.region == sa.bindparam("region"),
    )
    .order_by(table.c.created_at, table.c.arn)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_NEXT_PAGE = _FIRST_PAGE.where(
    sa.tuple_(table.c.created_at, table.c.arn)
    > sa.tuple_(sa.bindparam("created_at", type_=table.c.created_at.type), sa.bindparam("arn"))
)


class ApiKeyProviders:
    """What the control plane's credential-provider operations and the model activity work on."""

    def __init__(self, database: Database, envelopes: Envelopes) -> None:
        """Work on a database, with these envelopes."""
        self._database = database
        self._envelopes = envelopes

    async def create(self, arn: ApiKeyProviderArn, api_key: str) -> ApiKeyProviderRecord:
        """CreateApiKeyCredentialProvider.

        Raises:
            ServiceError: ConflictException when the name is taken.
            KeyRingFault: there is no usable key ring.
        """
        sealed = await self._envelopes.seal(api_key, str(arn), 1)
        now = datetime.now(UTC)
        row = {
            "arn": str(arn),
            "account": arn.account,
            "region": arn.region,
            "secret_id": secrets.token_hex(3),
            "created_at": now,
            "updated_at": now,
            **sealed.columns(),
        }

        def work(connection: Connection) -> ApiKeyProviderRecord:
            if not insert_or_ignore(connection, table, row):
                raise ServiceError(
                    AwsError.CONFLICT, f"A credential provider named {arn.name} already exists."
                )
            return _record(_fetch(connection, arn))

        return await self._database.write(work)

    async def get(self, arn: ApiKeyProviderArn) -> ApiKeyProviderRecord:
        """GetApiKeyCredentialProvider.

        Raises:
            ServiceError: ResourceNotFoundException naming it.
        """
        return _record(await self._row(arn))

    async def list(
        self, account: str, region: str, *, limit: int, after: str | None
    ) -> tuple[list[ApiKeyProviderRecord], str | None]:
        """ListApiKeyCredentialProviders: a page in order of creation.

        Args:
            account: the owner.
            region: where they are.
            limit: providers on the page, 1 to `MAX_PAGE`.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one.

        Raises:
            ServiceError: ValidationException for a bad limit or token.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise invalid("maxResults", f"must be from 1 to {MAX_PAGE}, not {limit}")
        parameters: dict[str, Any] = {"account": account, "region": region, "limit": limit + 1}
        statement = _FIRST_PAGE
        if after is not None:
            statement = _NEXT_PAGE
            parameters["created_at"], parameters["arn"] = decode_token(after)

        def work(connection: Connection) -> Sequence[Row[Any]]:
            return connection.execute(statement, parameters).all()

        rows = await self._database.read(work)
        page = [_record(row) for row in rows[:limit]]
        more = len(rows) > limit
        return page, encode_token(page[-1].created_at, str(page[-1].arn)) if more else None

    async def update(self, arn: ApiKeyProviderArn, api_key: str) -> ApiKeyProviderRecord:
        """UpdateApiKeyCredentialProvider: later `reveal`s give the new key.

        Raises:
            ServiceError: ResourceNotFoundException naming it; ConflictException when others
                replaced it all the while.
            KeyRingFault: there is no usable key ring.
        """
        for _ in range(_UPDATE_ATTEMPTS):
            version = (await self._row(arn)).version
            sealed = await self._envelopes.seal(api_key, str(arn), version + 1)
            updated = await self._replace(arn, version, sealed)
            if updated is not None:
                return updated
        raise ServiceError(
            AwsError.CONFLICT, f"The credential provider {arn.name} is being changed by others."
        )

    async def delete(self, arn: ApiKeyProviderArn) -> None:
        """DeleteApiKeyCredentialProvider: the key is gone for good.

        Raises:
            ServiceError: ResourceNotFoundException naming it.
        """

        def work(connection: Connection) -> int:
            return connection.execute(sa.delete(table).where(table.c.arn == str(arn))).rowcount

        if await self._database.write(work) == 0:
            raise _missing(arn)

    async def reveal(self, arn: ApiKeyProviderArn) -> str:
        """The key itself. For the activity that sends it to a provider, and for nobody else.

        Raises:
            ServiceError: ResourceNotFoundException naming it.
            SecretUnreadable: it does not open; the message names the ARN.
            KeyRingFault: there is no usable key ring.
        """
        return await self._envelopes.unseal(Sealed.of_row(await self._row(arn)), str(arn))

    async def _row(self, arn: ApiKeyProviderArn) -> Row[Any]:
        return await self._database.read(lambda connection: _fetch(connection, arn))

    async def _replace(
        self, arn: ApiKeyProviderArn, version: int, sealed: Sealed
    ) -> ApiKeyProviderRecord | None:
        statement = (
            sa.update(table)
            .where(table.c.arn == str(arn), table.c.version == version)
            .values(updated_at=datetime.now(UTC), **sealed.columns())
        )

        def work(connection: Connection) -> ApiKeyProviderRecord | None:
            if connection.execute(statement).rowcount == 0:
                return None
            return _record(_fetch(connection, arn))

        return await self._database.write(work)


def _fetch(connection: Connection, arn: ApiKeyProviderArn) -> Row[Any]:
    row = connection.execute(_ONE, {"arn": str(arn)}).first()
    if row is None:
        raise _missing(arn)
    return row


def _record(row: Row[Any]) -> ApiKeyProviderRecord:
    return ApiKeyProviderRecord(
        arn=ApiKeyProviderArn.parse(row.arn),
        secret_id=row.secret_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _missing(arn: ApiKeyProviderArn) -> ServiceError:
    return ServiceError(AwsError.NOT_FOUND, f"The credential provider {arn} does not exist.")
