"""Endpoints of harnesses: names that callers use, each pointing at one version.

DEFAULT is no row: it is always there, points at the newest version and stands as its harness does.
The others are changed under the lock of their harness, so that none is made while the harness is
deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from contracts.errors import AwsError, ServiceError, invalid
from contracts.provisioning import Operation, ResourceStatus
from contracts.records import DEFAULT_ENDPOINT, EndpointRecord, HarnessRecord
from store.engine import Database
from store.harness_rows import (
    find,
    in_transition,
    lock_settled,
    missing,
    missing_version,
    new_operation,
    record,
    version_number,
)
from store.paging import check_limit, decode_token, encode_token
from store.tables import harness_endpoint
from store.tag_rows import put_tags, resource_name
from store.tokens import ClientToken

#: AWS's quota for one harness; DEFAULT does not count.
MAX_ENDPOINTS = 10

_OF_HARNESS = (
    sa.select(harness_endpoint)
    .where(
        harness_endpoint.c.account == sa.bindparam("account"),
        harness_endpoint.c.harness_id == sa.bindparam("harness_id"),
    )
    .order_by(harness_endpoint.c.created_at, harness_endpoint.c.name)
)
_ONE = _OF_HARNESS.where(harness_endpoint.c.name == sa.bindparam("name"))


class Endpoints:
    """What the control plane's endpoint operations and `qualifier` work on."""

    def __init__(self, database: Database) -> None:
        """Work on a database."""
        self._database = database

    async def create(
        self,
        account: str,
        harness_id: str,
        name: str,
        *,
        version: str | None,
        description: str | None,
        client_token: str | None,
        params_digest: str,
        tags: Mapping[str, str] | None = None,
    ) -> EndpointRecord:
        """CreateHarnessEndpoint; `operation` makes it READY.

        Args:
            account: the owner.
            harness_id: the harness.
            name: of the endpoint.
            version: the version it points at; None takes the newest, once.
            description: for people.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.
            tags: of the endpoint.

        Raises:
            ServiceError: ResourceNotFoundException for the harness or the version;
                ConflictException when the name is taken, as DEFAULT always is, or while a change of
                the harness is under way;
                ServiceQuotaExceededException when the harness has `MAX_ENDPOINTS`;
                ValidationException for a token that was used for something else.
        """
        token = ClientToken(account, "CreateHarnessEndpoint", client_token, params_digest)

        def work(connection: Connection) -> EndpointRecord:
            used = token.use(connection, harness_id)
            if used is not None and used.endpoint is not None:
                return _answered(connection, used.endpoint)
            newest = lock_settled(connection, account, harness_id).version
            names = _names(connection, account, harness_id)
            if name == DEFAULT_ENDPOINT or name in names:
                raise ServiceError(
                    AwsError.CONFLICT,
                    f"Harness {harness_id} already has an endpoint named {name}.",
                )
            if len(names) >= MAX_ENDPOINTS:
                raise ServiceError(
                    AwsError.QUOTA,
                    f"Harness {harness_id} has {MAX_ENDPOINTS} endpoints, the most that is "
                    f"allowed beside {DEFAULT_ENDPOINT}: {', '.join(names)}.",
                )
            row = {
                "account": account,
                "harness_id": harness_id,
                "name": name,
                "version": _existing(connection, account, harness_id, version) or newest,
                "description": description,
                "created_at": datetime.now(UTC),
                **_begun(account, harness_id, name, ResourceStatus.CREATING),
            }
            connection.execute(sa.insert(harness_endpoint), row)
            put_tags(connection, account, resource_name(harness_id, name), tags or {})
            made = _get(connection, account, harness_id, name)
            token.remember(connection, endpoint=made)
            return made

        return await self._database.write(work)

    async def get(self, account: str, harness_id: str, name: str) -> EndpointRecord:
        """GetHarnessEndpoint.

        Raises:
            ServiceError: ResourceNotFoundException; for an endpoint it names those that are there.
        """
        return await self._database.read(
            lambda connection: _get(connection, account, harness_id, name)
        )

    async def list(
        self, account: str, harness_id: str, *, limit: int, after: str | None
    ) -> tuple[Sequence[EndpointRecord], str | None]:
        """ListHarnessEndpoints: a page; DEFAULT first, then in order of creation.

        Args:
            account: the owner.
            harness_id: the harness.
            limit: endpoints on the page, 1 to `store.paging.MAX_PAGE`.
            after: the token that the page before returned.

        Returns:
            The page, and the token of the next one if there is one.

        Raises:
            ServiceError: ResourceNotFoundException; ValidationException for a bad limit or token.
        """
        check_limit(limit)
        place = None if after is None else decode_token(after)

        def work(connection: Connection) -> list[EndpointRecord]:
            parent = _living(connection, account, harness_id)
            rows = connection.execute(_OF_HARNESS, {"account": account, "harness_id": harness_id})
            return [_default(parent), *(_record(row, parent) for row in rows)]

        everything = await self._database.read(work)
        rest = [one for one in everything if place is None or _place(one) > place]
        page = rest[:limit]
        more = len(rest) > limit
        return page, encode_token(*_place(page[-1])) if more else None

    async def update(
        self,
        account: str,
        harness_id: str,
        name: str,
        *,
        version: str | None,
        description: str | None,
        client_token: str | None,
        params_digest: str,
    ) -> EndpointRecord:
        """UpdateHarnessEndpoint: `operation` lets it serve the version; running turns keep theirs.

        Args:
            account: the owner.
            harness_id: the harness.
            name: of the endpoint.
            version: any version of the harness, newer or older; None keeps it.
            description: None keeps it.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Raises:
            ServiceError: ResourceNotFoundException for the harness, the endpoint or the version;
                ConflictException while another change of the harness or the endpoint is under way;
                ValidationException for DEFAULT, and for a token that was used for something else.
        """
        token = ClientToken(account, "UpdateHarnessEndpoint", client_token, params_digest)

        def work(connection: Connection) -> EndpointRecord:
            used = token.use(connection, harness_id)
            if used is not None and used.endpoint is not None:
                return _answered(connection, used.endpoint)
            _refuse_default(name)
            current = _settled(connection, account, harness_id, name)
            if current.status == ResourceStatus.DELETE_FAILED:
                raise in_transition(f"Endpoint {name}", ResourceStatus.DELETE_FAILED)
            number = _existing(connection, account, harness_id, version)
            changes = {
                "version": int(current.target_version) if number is None else number,
                "description": current.description if description is None else description,
                **_begun(account, harness_id, name, ResourceStatus.UPDATING),
            }
            connection.execute(
                sa.update(harness_endpoint).where(*_key(account, harness_id, name)).values(changes)
            )
            updated = _get(connection, account, harness_id, name)
            token.remember(connection, endpoint=updated)
            return updated

        return await self._database.write(work)

    async def delete(
        self,
        account: str,
        harness_id: str,
        name: str,
        *,
        client_token: str | None,
        params_digest: str,
    ) -> EndpointRecord:
        """DeleteHarnessEndpoint: `operation` takes it away; the version stays.

        Args:
            account: the owner.
            harness_id: the harness.
            name: of the endpoint.
            client_token: makes a repetition answer as the first call did.
            params_digest: tells whether a repetition asks for the same.

        Returns:
            The endpoint with status DELETING.

        Raises:
            ServiceError: as `update`.
        """
        token = ClientToken(account, "DeleteHarnessEndpoint", client_token, params_digest)

        def work(connection: Connection) -> EndpointRecord:
            used = token.use(connection, harness_id)
            if used is not None and used.endpoint is not None:
                return _answered(connection, used.endpoint)
            _refuse_default(name)
            _settled(connection, account, harness_id, name)
            begun = _begun(account, harness_id, name, ResourceStatus.DELETING)
            connection.execute(
                sa.update(harness_endpoint).where(*_key(account, harness_id, name)).values(begun)
            )
            going = _get(connection, account, harness_id, name)
            token.remember(connection, endpoint=going)
            return going

        return await self._database.write(work)


def refuse_named(connection: Connection, account: str, harness_id: str) -> None:
    """Refuse to delete a harness, locked, that somebody may call by an endpoint.

    Raises:
        ServiceError: ConflictException naming the endpoints.
    """
    names = _names(connection, account, harness_id)
    if names:
        raise ServiceError(
            AwsError.CONFLICT,
            f"Harness {harness_id} has named endpoints; delete them first: {', '.join(names)}.",
        )


def find_endpoint(
    connection: Connection, account: str, harness_id: str, name: str
) -> EndpointRecord:
    """An endpoint of a living harness.

    Raises:
        ServiceError: ResourceNotFoundException; for an endpoint it names those that are there.
    """
    return _get(connection, account, harness_id, name)


def _names(connection: Connection, account: str, harness_id: str) -> list[str]:
    rows = connection.execute(_OF_HARNESS, {"account": account, "harness_id": harness_id})
    return [row.name for row in rows]


def _key(account: str, harness_id: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        harness_endpoint.c.account == account,
        harness_endpoint.c.harness_id == harness_id,
        harness_endpoint.c.name == name,
    )


def _begun(account: str, harness_id: str, name: str, status: ResourceStatus) -> dict[str, object]:
    """What of an endpoint's row says that a change is under way."""
    return {
        "status": status,
        "failure_reason": None,
        "updated_at": datetime.now(UTC),
        "operation_id": new_operation(account, harness_id, name).operation_id,
    }


def _settled(connection: Connection, account: str, harness_id: str, name: str) -> EndpointRecord:
    """An endpoint that is to be changed, and its harness, locked."""
    lock_settled(connection, account, harness_id)
    found = _get(connection, account, harness_id, name)
    status = ResourceStatus(found.status)
    if status.moves:
        raise in_transition(f"Endpoint {name} of harness {harness_id}", status)
    return found


def _answered(connection: Connection, answer: EndpointRecord) -> EndpointRecord:
    """What a change of an endpoint answered, with its operation only while it is under way."""
    key = _key(answer.account, answer.harness_id, answer.name)
    now = connection.execute(sa.select(harness_endpoint.c.operation_id).where(*key)).scalar()
    pending = answer.operation is not None and answer.operation.operation_id == now
    return answer if pending else replace(answer, operation=None)


def _refuse_default(name: str) -> None:
    if name == DEFAULT_ENDPOINT:
        raise invalid(
            "endpointName",
            f"{DEFAULT_ENDPOINT} always follows the newest version; it cannot be changed or "
            "deleted. Create an endpoint of another name to pin a version",
        )


def _living(connection: Connection, account: str, harness_id: str) -> HarnessRecord:
    row = find(connection, account, harness_id, None)
    if row is None or not row.alive:
        raise missing(harness_id)
    return record(row)


def _existing(
    connection: Connection, account: str, harness_id: str, version: str | None
) -> int | None:
    """The number of a version that the harness has; None for None."""
    if version is None:
        return None
    number = version_number(harness_id, version)
    if find(connection, account, harness_id, number) is None:
        raise missing_version(harness_id, version)
    return number


def _get(connection: Connection, account: str, harness_id: str, name: str) -> EndpointRecord:
    parent = _living(connection, account, harness_id)
    if name == DEFAULT_ENDPOINT:
        return _default(parent)
    key = {"account": account, "harness_id": harness_id, "name": name}
    row = connection.execute(_ONE, key).first()
    if row is None:
        known = ", ".join([DEFAULT_ENDPOINT, *_names(connection, account, harness_id)])
        raise ServiceError(
            AwsError.NOT_FOUND,
            f"Harness {harness_id} has no endpoint named {name}; it has {known}",
        )
    return _record(row, parent)


def _place(endpoint: EndpointRecord) -> tuple[datetime, str]:
    return endpoint.created_at, endpoint.name


def _default(parent: HarnessRecord) -> EndpointRecord:
    return EndpointRecord(
        account=parent.account,
        harness_id=parent.harness_id,
        harness_name=parent.name,
        name=DEFAULT_ENDPOINT,
        status=parent.status,
        target_version=parent.version,
        description=None,
        created_at=parent.created_at,
        updated_at=parent.updated_at,
        live_version=parent.live_version,
        failure_reason=parent.failure_reason,
    )


def _record(row: Row[Any], parent: HarnessRecord) -> EndpointRecord:
    return EndpointRecord(
        account=row.account,
        harness_id=row.harness_id,
        harness_name=parent.name,
        name=row.name,
        status=row.status,
        target_version=str(row.version),
        description=row.description,
        created_at=row.created_at,
        updated_at=row.updated_at,
        live_version=None if row.live_version is None else str(row.live_version),
        failure_reason=row.failure_reason,
        operation=row.operation_id
        and Operation(row.account, row.harness_id, row.operation_id, row.name),
    )
