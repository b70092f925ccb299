"""Harness definitions: immutable versions under a name, created and deleted once per token."""

import secrets
import string
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError, invalid
from contracts.harness import HarnessConfig
from contracts.records import HarnessRecord
from store.engine import Database
from store.inserts import insert_or_ignore
from store.paging import decode_token, encode_token
from store.tables import harness, harness_version
from store.tokens import ClientToken

READY = "READY"
DELETING = "DELETING"

#: `maxResults` of AWS's list operations goes to 100.
MAX_PAGE = 100
#: AWS ends a harness id with ten alphanumerics.
_SUFFIX_LENGTH = 10
_ALPHANUMERIC = string.ascii_letters + string.digits
_FIRST_VERSION = 1

_JOINED = sa.select(
    harness,
    harness_version.c.version.label("shown_version"),
    harness_version.c.created_at.label("versioned_at"),
    harness_version.c.config,
).join_from(
    harness,
    harness_version,
    (harness_version.c.account == harness.c.account)
    & (harness_version.c.harness_id == harness.c.harness_id),
)
_ONE = _JOINED.where(
    harness.c.account == sa.bindparam("account"),
    harness.c.harness_id == sa.bindparam("harness_id"),
    harness_version.c.version
    == sa.func.coalesce(sa.bindparam("version", type_=sa.Integer), harness.c.version),
)
_FIRST_PAGE = (
    _JOINED.where(
        harness.c.account == sa.bindparam("account"),
        harness.c.alive,
        harness_version.c.version == harness.c.version,
    )
    .order_by(harness.c.created_at, harness.c.harness_id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_NEXT_PAGE = _FIRST_PAGE.where(
    sa.tuple_(harness.c.created_at, harness.c.harness_id)
    > sa.tuple_(
        sa.bindparam("created_at", type_=harness.c.created_at.type), sa.bindparam("harness_id")
    )
)


class Harnesses:
    """What the control plane's harness operations work on."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def create(
        self,
        account: str,
        name: str,
        config: HarnessConfig,
        *,
        client_token: str | None,
        params_digest: str,
    ) -> HarnessRecord:
        """CreateHarness: version 1 under a new id, READY at once.

        Args:
            account: the owner.
            name: must differ from the names of the account's other harnesses.
            config: what version 1 fixes.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Raises:
            ServiceError: ConflictException when the name is taken; ValidationException with reason
                IdempotentParameterMismatchException when the token was used for something else.
        """
        suffix = "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_SUFFIX_LENGTH))
        harness_id = f"{name}-{suffix}"
        token = ClientToken(account, "CreateHarness", client_token, params_digest)

        def work(connection: Connection) -> HarnessRecord:
            earlier = token.use(connection, harness_id)
            if earlier is not None:
                return _as_created(connection, account, earlier)
            now = datetime.now(UTC)
            key = {"account": account, "harness_id": harness_id}
            row = {
                **key,
                "name": name,
                "status": READY,
                "version": _FIRST_VERSION,
                "created_at": now,
                "updated_at": now,
                "alive": True,
            }
            if not insert_or_ignore(connection, harness, row):
                raise ServiceError(
                    AwsError.CONFLICT, f"A harness named {name} already exists in this account."
                )
            connection.execute(
                sa.insert(harness_version),
                {**key, "version": _FIRST_VERSION, "created_at": now, "config": config},
            )
            return _record(_fetch(connection, account, harness_id, _FIRST_VERSION))

        return await self._database.write(work)

    async def get(self, account: str, harness_id: str, version: str | None = None) -> HarnessRecord:
        """GetHarness: a version of a harness, the newest when none is named.

        Raises:
            ServiceError: ResourceNotFoundException naming what is missing.
        """
        if version is not None and not (version.isascii() and version.isdecimal()):
            raise _missing_version(harness_id, version)
        number = None if version is None else int(version)

        def work(connection: Connection) -> HarnessRecord:
            row = _find(connection, account, harness_id, number)
            if row is not None and row.alive:
                return _record(row)
            if version is not None:
                newest = _find(connection, account, harness_id, None)
                if newest is not None and newest.alive:
                    raise _missing_version(harness_id, version)
            raise _missing(harness_id)

        return await self._database.read(work)

    async def list(
        self, account: str, *, limit: int, after: str | None
    ) -> tuple[list[HarnessRecord], str | None]:
        """ListHarnesses: a page in order of creation.

        Args:
            account: the owner.
            limit: harnesses on the page, 1 to `MAX_PAGE`.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one. Harnesses that are created or
            deleted meanwhile neither repeat nor hide others.

        Raises:
            ServiceError: ValidationException for a bad limit or token.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise invalid("maxResults", f"must be from 1 to {MAX_PAGE}, not {limit}")
        parameters: dict[str, Any] = {"account": account, "limit": limit + 1}
        statement = _FIRST_PAGE
        if after is not None:
            statement = _NEXT_PAGE
            created_at, harness_id = decode_token(after)
            parameters |= {"created_at": created_at, "harness_id": harness_id}

        def work(connection: Connection) -> Sequence[Row[Any]]:
            return connection.execute(statement, parameters).all()

        rows = await self._database.read(work)
        page = [_record(row) for row in rows[:limit]]
        more = len(rows) > limit
        return page, encode_token(page[-1].created_at, page[-1].harness_id) if more else None

    async def delete(
        self, account: str, harness_id: str, *, client_token: str | None, params_digest: str
    ) -> HarnessRecord:
        """DeleteHarness: later `get`s do not find it; its sessions and transcripts stay.

        Args:
            account: the owner.
            harness_id: which.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Returns:
            The harness with status DELETING.

        Raises:
            ServiceError: ResourceNotFoundException; ValidationException with reason
                IdempotentParameterMismatchException when the token was used for something else.
        """
        token = ClientToken(account, "DeleteHarness", client_token, params_digest)

        def work(connection: Connection) -> HarnessRecord:
            earlier = token.use(connection, harness_id)
            if earlier is None:
                _bury(connection, account, harness_id)
            return _record(_fetch(connection, account, earlier or harness_id, None))

        return await self._database.write(work)


def _bury(connection: Connection, account: str, harness_id: str) -> None:
    buried = connection.execute(
        sa.update(harness)
        .where(harness.c.account == account, harness.c.harness_id == harness_id, harness.c.alive)
        .values(alive=False, status=DELETING, updated_at=datetime.now(UTC))
    )
    if buried.rowcount == 0:
        raise _missing(harness_id)


def _find(
    connection: Connection, account: str, harness_id: str, version: int | None
) -> Row[Any] | None:
    key = {"account": account, "harness_id": harness_id, "version": version}
    return connection.execute(_ONE, key).first()


def _fetch(connection: Connection, account: str, harness_id: str, version: int | None) -> Row[Any]:
    row = _find(connection, account, harness_id, version)
    if row is None:
        raise _missing(harness_id)
    return row


def _record(row: Row[Any]) -> HarnessRecord:
    return HarnessRecord(
        account=row.account,
        harness_id=row.harness_id,
        name=row.name,
        status=row.status,
        version=str(row.shown_version),
        created_at=row.created_at,
        updated_at=row.updated_at,
        config=row.config,
    )


def _as_created(connection: Connection, account: str, harness_id: str) -> HarnessRecord:
    """What CreateHarness answered, whatever has become of the harness since."""
    row = _fetch(connection, account, harness_id, _FIRST_VERSION)
    return HarnessRecord(
        account=account,
        harness_id=harness_id,
        name=row.name,
        status=READY,
        version=str(_FIRST_VERSION),
        created_at=row.created_at,
        updated_at=row.created_at,
        config=row.config,
    )


def _missing(harness_id: str) -> ServiceError:
    return ServiceError(AwsError.NOT_FOUND, f"Harness {harness_id} does not exist.")


def _missing_version(harness_id: str, version: str) -> ServiceError:
    return ServiceError(
        AwsError.NOT_FOUND, f"Harness {harness_id} does not have a version {version}."
    )
