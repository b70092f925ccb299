"""Harness definitions: immutable versions under a name, each change made once per token."""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError
from contracts.harness import HarnessConfig
from contracts.provisioning import ResourceStatus
from contracts.records import HarnessRecord
from store.endpoints import refuse_named
from store.engine import Database
from store.harness_rows import (
    JOINED,
    fetch,
    find,
    lock_settled,
    missing,
    missing_version,
    new_operation,
    record,
    version_number,
)
from store.inserts import insert_or_ignore
from store.paging import bad_token, check_limit, decode_token, encode_token
from store.serving import serving
from store.tables import harness, harness_version
from store.tag_rows import put_tags, tagged
from store.tokens import ClientToken

#: AWS's quota for one account and Region.
MAX_HARNESSES = 1000
#: AWS's quota for one harness.
MAX_VERSIONS = 1000
#: AWS ends a harness id with ten alphanumerics.
_SUFFIX_LENGTH = 10
_ALPHANUMERIC = string.ascii_letters + string.digits
_FIRST_VERSION = 1
#: The advisory lock under which a PostgreSQL account's harnesses are counted.
_COUNT_LOCK = 0x68617273

_COUNT = (
    sa.select(sa.func.count())
    .select_from(harness)
    .where(harness.c.account == sa.bindparam("account"), harness.c.alive)
)
_BY_NAME = sa.select(harness.c.harness_id).where(
    harness.c.account == sa.bindparam("account"),
    harness.c.name == sa.bindparam("name"),
    harness.c.alive,
)
_FIRST_PAGE = (
    JOINED.where(
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
_VERSIONS = (
    JOINED.where(
        harness.c.account == sa.bindparam("account"),
        harness.c.harness_id == sa.bindparam("harness_id"),
        harness.c.alive,
        harness_version.c.version < sa.bindparam("before", type_=sa.Integer),
    )
    .order_by(harness_version.c.version.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
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
        tags: Mapping[str, str] | None = None,
    ) -> HarnessRecord:
        """CreateHarness: version 1 under a new id; `operation` makes it READY.

        Args:
            account: the owner.
            name: must differ from the names of the account's other harnesses.
            config: what version 1 fixes.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.
            tags: of the harness; its DEFAULT endpoint gets them too.

        Raises:
            ServiceError: ConflictException when the name is taken; ServiceQuotaExceededException
                when the account has `MAX_HARNESSES`; ValidationException with reason
                IdempotentParameterMismatchException when the token was used for something else.
        """
        suffix = "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_SUFFIX_LENGTH))
        harness_id = f"{name}-{suffix}"
        token = ClientToken(account, "CreateHarness", client_token, params_digest)

        def work(connection: Connection) -> HarnessRecord:
            earlier = token.use(connection, harness_id)
            if earlier is not None:
                return _answered(
                    connection,
                    account,
                    earlier.harness_id,
                    _FIRST_VERSION,
                    ResourceStatus.CREATING,
                )
            now = datetime.now(UTC)
            key = {"account": account, "harness_id": harness_id}
            row = {
                **key,
                "name": name,
                "status": ResourceStatus.CREATING,
                "operation_id": new_operation(account, harness_id).operation_id,
                "version": _FIRST_VERSION,
                "created_at": now,
                "updated_at": now,
                "alive": True,
            }
            if not insert_or_ignore(connection, harness, row):
                raise ServiceError(
                    AwsError.CONFLICT, f"A harness named {name} already exists in this account."
                )
            _check_count(connection, account)
            connection.execute(
                sa.insert(harness_version),
                {**key, "version": _FIRST_VERSION, "created_at": now, "config": config},
            )
            for resource in tagged(harness_id):
                put_tags(connection, account, resource, tags or {})
            return record(fetch(connection, account, harness_id, _FIRST_VERSION))

        return await self._database.write(work)

    async def get(self, account: str, harness_id: str, version: str | None = None) -> HarnessRecord:
        """GetHarness: a version of a harness, the newest when none is named.

        Raises:
            ServiceError: ResourceNotFoundException naming what is missing.
        """
        number = None if version is None else version_number(harness_id, version)

        def work(connection: Connection) -> HarnessRecord:
            row = find(connection, account, harness_id, number)
            if row is not None and row.alive:
                return record(row)
            if version is not None:
                newest = find(connection, account, harness_id, None)
                if newest is not None and newest.alive:
                    raise missing_version(harness_id, version)
            raise missing(harness_id)

        return await self._database.read(work)

    async def id_of(self, account: str, name: str) -> str:
        """The id of the harness that has a name.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        found = await self._database.read(
            lambda connection: connection.execute(
                _BY_NAME, {"account": account, "name": name}
            ).scalar()
        )
        if found is None:
            raise ServiceError(AwsError.NOT_FOUND, f"No harness is named {name}.")
        return found

    async def serving(self, account: str, harness_id: str, qualifier: str) -> HarnessRecord:
        """The version that an endpoint serves now.

        Args:
            account: the owner.
            harness_id: which.
            qualifier: the endpoint's name.

        Raises:
            ServiceError: ResourceNotFoundException for what is not there or is being deleted;
                ThrottlingException before the first version is ready; ValidationException with
                reason ResourceConflict when none ever was.
        """
        return await self._database.read(
            lambda connection: serving(connection, account, harness_id, qualifier)
        )

    async def list(
        self, account: str, *, limit: int, after: str | None
    ) -> tuple[list[HarnessRecord], str | None]:
        """ListHarnesses: a page in order of creation.

        Args:
            account: the owner.
            limit: harnesses on the page, 1 to `store.paging.MAX_PAGE`.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one. Harnesses that are created or
            deleted meanwhile neither repeat nor hide others.

        Raises:
            ServiceError: ValidationException for a bad limit or token.
        """
        check_limit(limit)
        parameters: dict[str, Any] = {"account": account, "limit": limit + 1}
        statement = _FIRST_PAGE
        if after is not None:
            statement = _NEXT_PAGE
            created_at, harness_id = decode_token(after)
            parameters |= {"created_at": created_at, "harness_id": harness_id}

        def work(connection: Connection) -> Sequence[Row[Any]]:
            return connection.execute(statement, parameters).all()

        rows = await self._database.read(work)
        page = [record(row) for row in rows[:limit]]
        more = len(rows) > limit
        return page, encode_token(page[-1].created_at, page[-1].harness_id) if more else None

    async def versions(
        self, account: str, harness_id: str, *, limit: int, after: str | None
    ) -> tuple[Sequence[HarnessRecord], str | None]:
        """ListHarnessVersions: a page of a harness's versions, newest first.

        Args:
            account: the owner.
            harness_id: which.
            limit: versions on the page, 1 to `store.paging.MAX_PAGE`.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one. A version made meanwhile stands
            before the first page and moves no other.

        Raises:
            ServiceError: ResourceNotFoundException; ValidationException for a bad limit or token.
        """
        check_limit(limit)
        before = MAX_VERSIONS + 1 if after is None else _version_place(after)
        key = {"account": account, "harness_id": harness_id}

        def work(connection: Connection) -> Sequence[Row[Any]]:
            newest = find(connection, account, harness_id, None)
            if newest is None or not newest.alive:
                raise missing(harness_id)
            wanted = {**key, "before": before, "limit": limit + 1}
            return connection.execute(_VERSIONS, wanted).all()

        rows = await self._database.read(work)
        page = [record(row) for row in rows[:limit]]
        more = len(rows) > limit
        return page, encode_token(page[-1].updated_at, page[-1].version) if more else None

    async def update(
        self,
        account: str,
        harness_id: str,
        change: Callable[[HarnessConfig], HarnessConfig],
        *,
        client_token: str | None,
        params_digest: str,
    ) -> HarnessRecord:
        """UpdateHarness: a new version with the full configuration; older ones stay as they are.

        DEFAULT serves the version before it until `operation` has made the new one READY.

        Args:
            account: the owner.
            harness_id: which.
            change: makes the new configuration of the newest one, which nobody else changes
                meanwhile. When it raises, nothing has happened.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Raises:
            ServiceError: ResourceNotFoundException; ConflictException while another change is under
                way; ServiceQuotaExceededException when the harness has `MAX_VERSIONS`;
                ValidationException with reason IdempotentParameterMismatchException when the token
                was used for something else.
        """
        token = ClientToken(account, "UpdateHarness", client_token, params_digest)
        key = {"account": account, "harness_id": harness_id}

        def work(connection: Connection) -> HarnessRecord:
            earlier = token.use(connection, harness_id)
            if earlier is not None:
                return _answered(
                    connection,
                    account,
                    earlier.harness_id,
                    earlier.version,
                    ResourceStatus.UPDATING,
                )
            newest = lock_settled(connection, account, harness_id).version
            if newest >= MAX_VERSIONS:
                raise ServiceError(
                    AwsError.QUOTA,
                    f"Harness {harness_id} has {MAX_VERSIONS} versions, the most that is allowed.",
                )
            config = change(fetch(connection, account, harness_id, newest).config)
            now = datetime.now(UTC)
            connection.execute(
                sa.insert(harness_version),
                {**key, "version": newest + 1, "created_at": now, "config": config},
            )
            connection.execute(
                _this(key).values(
                    version=newest + 1,
                    updated_at=now,
                    **_begun(account, harness_id, ResourceStatus.UPDATING),
                )
            )
            token.remember(connection, version=newest + 1)
            return record(fetch(connection, account, harness_id, newest + 1))

        return await self._database.write(work)

    async def delete(
        self, account: str, harness_id: str, *, client_token: str | None, params_digest: str
    ) -> HarnessRecord:
        """DeleteHarness: nobody gets at it any more; `operation` takes it away.

        A deletion that failed is taken up again, whatever the token.

        Args:
            account: the owner.
            harness_id: which.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Returns:
            The harness with status DELETING.

        Raises:
            ServiceError: ResourceNotFoundException; ConflictException when it has named endpoints,
                or while another change is under way; ValidationException with reason
                IdempotentParameterMismatchException when the token was used for something else.
        """
        token = ClientToken(account, "DeleteHarness", client_token, params_digest)
        key = {"account": account, "harness_id": harness_id}

        def work(connection: Connection) -> HarnessRecord:
            used = token.use(connection, harness_id)
            row = fetch(connection, account, harness_id, None)
            failed = row.alive and row.status == ResourceStatus.DELETE_FAILED
            if used is None or failed:
                lock_settled(connection, account, harness_id, failed_delete=True)
                refuse_named(connection, account, harness_id)
                now = datetime.now(UTC)
                begun = _begun(account, harness_id, ResourceStatus.DELETING)
                connection.execute(_this(key).values(updated_at=now, **begun))
                row = fetch(connection, account, harness_id, None)
            return replace(record(row), updated_at=row.updated_at)

        return await self._database.write(work)


def _this(key: dict[str, str]) -> sa.Update:
    return sa.update(harness).where(
        harness.c.account == key["account"], harness.c.harness_id == key["harness_id"]
    )


def _begun(account: str, harness_id: str, status: ResourceStatus) -> dict[str, Any]:
    """What of a harness's row says that a change is under way."""
    return {
        "status": status,
        "failure_reason": None,
        "operation_id": new_operation(account, harness_id).operation_id,
    }


def _check_count(connection: Connection, account: str) -> None:
    """Refuse the harness that was just inserted when it is one too many."""
    if connection.dialect.name == "postgresql":
        # SQLite has one writer at a time; here two could count at once and both find room.
        connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(_COUNT_LOCK, sa.func.hashtext(account)))
        )
    if connection.execute(_COUNT, {"account": account}).scalar_one() > MAX_HARNESSES:
        raise ServiceError(
            AwsError.QUOTA,
            f"Account {account} has {MAX_HARNESSES} harnesses, the most that is allowed.",
        )


def _answered(
    connection: Connection,
    account: str,
    harness_id: str,
    version: int | None,
    status: ResourceStatus,
) -> HarnessRecord:
    """What making a version answered, whatever has become of the harness since.

    `operation` is still that of the harness, so that a repetition can start what was not started.
    """
    made = record(fetch(connection, account, harness_id, version))
    return replace(made, status=status, failure_reason=None)


def _version_place(after: str) -> int:
    _, version = decode_token(after)
    if not (version.isascii() and version.isdecimal() and len(version) <= len(str(MAX_VERSIONS))):
        raise bad_token()
    return int(version)
